/** File systems by their names, and what is so on all of a kind. */
import { throwIfNegative } from './errors.ts'
import { Statfs } from './statfs.ts'

/** By the magic number of statfs(2). */
const KIND_BY_MAGIC: ReadonlyMap<number, string> = new Map([
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0xef53, 'ext4'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
  [0x958458f6, 'hugetlbfs'],
  [0x794c7630, 'overlay'],
  [0x65735546, 'fuse'],
  [0x6969, 'nfs'],
  [0xfe534d42, 'smb'],
  [0xff534d42, 'cifs'],
  [0x00c36400, 'ceph'],
  [0x01021997, '9p'],
  [0x2fc12fc1, 'zfs'],
  [0xca451a4e, 'bcachefs'],
  [0xf2f52010, 'f2fs'],
  [0x7461636f, 'ocfs2'],
  [0x01161970, 'gfs2'],
  [0x73717368, 'squashfs'],
  [0xe0f5e1e2, 'erofs'],
  [0x7366746e, 'ntfs3'],
  [0x2011bab0, 'exfat'],
  [0x4d44, 'vfat'],
  [0x9660, 'iso9660'],
  [0x9fa0, 'proc'],
  [0x62656572, 'sysfs'],
])

const LIVES_IN_MEMORY: readonly string[] = ['devtmpfs', 'hugetlbfs', 'ramfs', 'tmpfs']

const MOVES_CTIME: readonly string[] = ['btrfs', 'ext2', 'ext3', 'ext4', 'xfs']

const KEEPS_FOR_ROOT: readonly string[] = ['ext2', 'ext3', 'ext4', 'f2fs']

const statfs = new Statfs()

/** The name of the kind with that magic number of statfs(2), if it is known. The list of mounts has the finer one (ext3, fuse.sshfs). */
export function kindByMagic(magic: number): string | undefined {
  return KIND_BY_MAGIC.get(magic)
}

/** The kind of the file system that `fd` (O_PATH will do) is on, by its magic number; hex digits where that is not known. Throws a SystemError where `fd` is none. */
export function kindOf(fd: number): string {
  throwIfNegative(statfs.ofFd(fd), 'fstatfs')
  return kindByMagic(statfs.type) ?? statfs.type.toString(16)
}

/** Whether its files lie in main memory, and nowhere else: a copy of them there would be a second one. */
export function livesInMemory(kind: string): boolean {
  return LIVES_IN_MEMORY.includes(kind)
}

/** Whether all that changes a file, stores through mappings included, or a directory moves its ctime. Not so on tmpfs. */
export function movesCtime(kind: string): boolean {
  return MOVES_CTIME.includes(kind)
}

/** Whether it may keep blocks that nobody gets but root, however much room others want. */
export function keepsForRoot(kind: string): boolean {
  return KEEPS_FOR_ROOT.includes(kind)
}
