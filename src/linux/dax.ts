/** Files that lie in memory which the processor addresses itself (persistent memory): the kernel reads and writes them there, without its page cache. */
import os from 'node:os'
import { SystemError } from './errors.ts'
import { Statfs } from './statfs.ts'
import { Statx } from './statx.ts'

const stat = new Statx()
const statfs = new Statfs()

/** By the magic number of statfs(2): tmpfs, ramfs, hugetlbfs. */
const MEMORY_FILESYSTEMS: readonly number[] = [0x01021994, 0x858458f6, 0x958458f6]

/** Whether files that share storage keep DAX when their inodes are loaded anew: XFS from Linux 6.2 on. Before, a clone that is made costs its source DAX. */
export function clonesKeepDax(): boolean {
  const [major = 0, minor = 0] = os.release().split('.').map(Number.parseFloat)
  return major > 6 || (major === 6 && minor >= 2)
}

/**
 * Whether what `fd` (O_PATH will do) is open on is accessed directly now: STATX_ATTR_DAX, which the kernel sets from the inode's own state (S_DAX). The mount option does
 * not tell it: with `dax=inode` each file has a flag of its own, which is heeded when its inode is next loaded, and where the device cannot do DAX the kernel mounts without it
 * and says so in its log only. Throws a SystemError where `fd` is none. Kernels before 5.8 do not tell: false.
 */
export function isDax(fd: number): boolean {
  const result = stat.ofFd(fd, 0)
  if (result < 0) throw new SystemError(-result, 'statx')
  return stat.isDax
}

/** Whether what `fd` is open on lies in main memory, and nowhere else: a copy of it there would be a second one. Throws a SystemError where `fd` is none. */
export function livesInMemory(fd: number): boolean {
  const result = statfs.ofFd(fd)
  if (result < 0) throw new SystemError(-result, 'fstatfs')
  return MEMORY_FILESYSTEMS.includes(statfs.type)
}
