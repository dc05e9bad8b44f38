/**
 * Which file system a descriptor is on, and whether its physical addresses prove that files share bytes.
 *
 * Addresses are trusted on an allow-list. On anything else files are served correctly and share nothing: equal
 * addresses on overlayfs, say, may be of two different file systems below it.
 */
import fs from 'node:fs'
import { btrfsGeneration, btrfsUuid } from '../linux/btrfs.ts'
import { ERRNO, SystemError, throwIfNegative } from '../linux/errors.ts'
import { close, O_NONBLOCK, O_RDONLY, reopen } from '../linux/file.ts'
import { FS_XFLAG, getXflags } from '../linux/file-attributes.ts'
import { kindByMagic, kindOf, livesInMemory } from '../linux/filesystem-kinds.ts'
import { type MountInfo, readMountInfo } from '../linux/mountinfo.ts'
import { ST_RDONLY, Statfs } from '../linux/statfs.ts'
import { Statx } from '../linux/statx.ts'
import { fileSystemUuid } from '../linux/uuid.ts'
import { xfsGeometry } from '../linux/xfs.ts'

export interface Filesystem {
  /** `xfs`, `btrfs`, `ext4`, `overlay`, …; hex digits of the magic number where the name is not known. */
  readonly kind: string
  /**
   * Equal for all files of one file system, whatever subvolume or mount they were reached through, and different for any two
   * that are mounted at once. Addresses are comparable only where this is equal.
   */
  readonly identity: string
  /** Hex digits; undefined where the file system has none or does not tell. */
  readonly uuid: string | undefined
  /** `major:minor` of the superblock; of the file, where the mount is not in our list of mounts. */
  readonly device: string
  /** Bytes. */
  readonly blockSize: number
  /**
   * Nobody can write to the file system, nor make it writable by mounting it anew, for its devices are read-only: a file on it can be
   * its own home.
   */
  readonly isFrozen: boolean
  /** Not through this mount, at least. */
  readonly isReadOnly: boolean
  /** Can files share blocks by FICLONE? */
  readonly hasReflinks: boolean
  /** Do equal physical addresses prove equal bytes? (See {@link whyFileUntrusted} for single files.) */
  readonly hasTrustedAddresses: boolean
  /** Can files here be served by homes? */
  readonly canShare: boolean
  /** Why they cannot, in a sentence for people; empty where they can. */
  readonly reason: string
}

/**
 * Identifies the file system that `fd`, of a regular file or a directory, is on; `fd` may be O_PATH. Throws a SystemError when it
 * cannot be stat'ed, or is O_PATH on XFS or btrfs and cannot be opened for reading. Context: any thread; reads /proc, so not for
 * every request.
 */
export function identifyFilesystem(fd: number): Filesystem {
  // An O_PATH descriptor answers no ioctl. O_NONBLOCK: a fifo or device must not hold us up.
  const readable = reopen(fd, O_RDONLY | O_NONBLOCK)
  try {
    return identify(fd, readable)
  } finally {
    if (readable >= 0) close(readable)
  }
}

/** `reopened`: `fd` once more, for reading; or -errno. */
function identify(fd: number, reopened: number): Filesystem {
  const stat = new Statx()
  throwIfNegative(stat.ofFd(fd), 'statx')
  const statfs = new Statfs()
  throwIfNegative(statfs.ofFd(fd), 'fstatfs')
  const mount = stat.mountId === 0 ? undefined : findMount(stat.mountId)
  const known = kindByMagic(statfs.type)
  // The list of mounts has the finer name (ext3, fuse.sshfs); what is trusted goes by the number.
  const trusted = known === 'xfs' || known === 'btrfs'
  // What it cannot say of itself would be taken for what it does not have.
  if (trusted && reopened < 0 && getXflags(fd) === -ERRNO.EBADF) throw new SystemError(-reopened, 'open')
  const readable = reopened >= 0 ? reopened : fd
  const kind = trusted ? known : (mount?.type ?? known ?? statfs.type.toString(16))
  const xfs = known === 'xfs' ? xfsGeometry(readable) : undefined
  const uuid = xfs?.uuid ?? fileSystemUuid(readable) ?? (known === 'btrfs' ? btrfsUuid(readable) : undefined)
  const device = mount?.device ?? deviceOf(stat)
  const isReadOnly = (statfs.flags & ST_RDONLY) !== 0
  const isFrozen = mount?.superOptions.includes('ro') === true && areDevicesReadOnly(known, uuid, device)
  const hasReflinks = xfs?.reflink ?? known === 'btrfs'
  const identified = {
    kind,
    // btrfs makes a device number for each subvolume; its superblock's is known only from the list of mounts.
    identity: known === 'btrfs' && mount === undefined ? `${kind}:${uuid}` : `${kind}:${uuid ?? ''}@${device}`,
    uuid,
    device,
    blockSize: xfs?.blockSize ?? statfs.frsize,
    isFrozen,
    isReadOnly,
    hasReflinks,
    hasTrustedAddresses: trusted && uuid !== undefined && (known !== 'btrfs' || btrfsGeneration(readable) > 0),
  }
  const reason = whyNotShared(identified)
  return { ...identified, canShare: reason === '', reason }
}

function whyNotShared(identified: Omit<Filesystem, 'canShare' | 'reason'>): string {
  const { kind } = identified
  if (kind === 'overlay')
    return 'overlayfs hides where its files lie. Files that come from the same lower layer share memory already.'
  if (livesInMemory(kind)) return `${kind} lies in memory itself and has no clones.`
  if (/^ext[234]$/.test(kind)) return `${kind} has no clones (reflinks): no two of its files share storage.`
  if (kind !== 'xfs' && kind !== 'btrfs')
    return `Samepage does not trust the addresses that ${kind} reports, so it cannot tell which files share storage.`
  if (!identified.hasReflinks)
    return 'This XFS was made without reflink support (mkfs.xfs -m reflink=1): no two of its files share storage.'
  if (identified.uuid === undefined) return `This ${kind} does not tell its UUID, so its addresses are not trusted.`
  if (!identified.hasTrustedAddresses)
    return 'This btrfs does not tell its generation (Linux 5.10 does), so it cannot be seen when blocks are used again.'
  if (identified.isReadOnly && !identified.isFrozen)
    return 'It is mounted read-only, so homes cannot be made here, but it may be written by other ways: mount it for writing, or make its device read-only (blockdev --setro).'
  return ''
}

/**
 * Why the addresses of this one file are not to be compared with those of files on `filesystem`, as a sentence; undefined if they are.
 * `fd` not O_PATH. Two or three system calls.
 */
export function whyFileUntrusted(fd: number, filesystem: Filesystem): string | undefined {
  if (!filesystem.hasTrustedAddresses) return filesystem.reason || `${filesystem.kind} is not trusted.`
  // Whoever names the file system of a file may be wrong (a symlink or a mount leads elsewhere), and equal addresses would then be taken for equal bytes.
  if (!isOn(fd, filesystem)) return 'The file lies on another file system.'
  if (filesystem.kind !== 'xfs') return undefined
  const flags = getXflags(fd)
  if (flags < 0) return 'XFS does not tell on which of its devices the file lies.'
  // Addresses on the realtime device count from zero again.
  if (flags & FS_XFLAG.REALTIME) return 'The file lies on the realtime device of its XFS.'
  return undefined
}

/** Whether `fd` is on `filesystem`, an XFS or btrfs: the list of mounts is not read, so this may be asked at every look at a file. */
function isOn(fd: number, { kind, uuid, device }: Filesystem): boolean {
  // The kind comes from the kernel; what an ioctl says on FUSE comes from whoever serves it.
  if (kindOf(fd) !== kind) return false
  // On btrfs each subvolume has a device of its own, and no two that are mounted have one UUID; two of XFS may.
  if (kind === 'btrfs') return btrfsUuid(fd) === uuid
  const stat = new Statx()
  return stat.ofFd(fd) === 0 && deviceOf(stat) === device
}

/** What the kernel says of the devices below a file system; false where it does not say. */
function areDevicesReadOnly(kind: string | undefined, uuid: string | undefined, device: string): boolean {
  try {
    const devices = devicesOf(kind, uuid, device)
    return devices.length > 0 && devices.every((path) => fs.readFileSync(`${path}/ro`, 'utf8').trim() === '1')
  } catch {
    return false
  }
}

function devicesOf(kind: string | undefined, uuid: string | undefined, device: string): string[] {
  if (kind !== 'btrfs') return [`/sys/dev/block/${device}`]
  const dashed = uuid?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  const directory = `/sys/fs/btrfs/${dashed}/devices`
  return fs.readdirSync(directory).map((name) => `${directory}/${name}`)
}

function deviceOf({ devMajor, devMinor }: Statx): string {
  return `${devMajor}:${devMinor}`
}

function findMount(id: number): MountInfo | undefined {
  return readMountInfo().find((mount) => mount.id === id)
}
