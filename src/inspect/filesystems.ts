/**
 * What can be known about the files of each file system: whether equal addresses mean equal blocks, and whether the
 * kernel tells the truth about cached pages. What is not on a list below is unknown, and said to be.
 */
import { livesInMemory } from '../linux/filesystem-kinds.ts'
import type { Statx } from '../linux/statx.ts'
import { type Filesystem, identifyFilesystem } from '../storage/filesystem.ts'
import { InodeSet } from './inode-set.ts'
import { RangeTable } from './ranges.ts'
import type { ResidencySource } from './residency.ts'

type SharingSource =
  /** FIEMAP's addresses can be compared. */
  | 'extents'
  /** No two files share blocks, by the file system's nature. */
  | 'none'
  /** They may or may not. */
  | 'unknown'

/** One file system of the walk, whatever number of devices (subvolumes) and mounts it shows. */
export interface WalkedFilesystem {
  readonly identified: Filesystem
  readonly sharing: SharingSource
  /** The best that any of its files allows. */
  readonly residency: ResidencySource
  /** Why its files are left out, if they are. */
  readonly leftOut: string | undefined
  /** It shows files that lie elsewhere, at their own paths: to be looked at only where it was asked for, or they count twice. */
  readonly isView: boolean
  /** The shared ranges of its files. */
  readonly ranges: RangeTable
  /** Regular files seen on it, each inode once. */
  files: number
}

/** What one st_dev (as one number, see {@link deviceNumber}) shows: a file system, or on btrfs a subvolume with inode numbers of its own. */
export interface WalkedDevice {
  readonly number: number
  readonly filesystem: WalkedFilesystem
  readonly directories: InodeSet
  /** Files with more than one name, and files that share storage: those that must not be counted twice. */
  readonly files: InodeSet
}

const SHOWS_THE_KERNEL = new Set(
  `autofs binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devpts efivarfs fusectl mqueue nfsd nsfs proc pstore
  resctrl rpc_pipefs securityfs selinuxfs smackfs sysfs tracefs`.split(/\s+/),
)
const SHOWS_OTHERS = new Set(['overlay', 'fuse.samepage'])
const NEVER_SHARES = new Set(['ext2', 'ext3', 'ext4', 'exfat', 'f2fs', 'iso9660', 'msdos', 'ntfs3', 'udf', 'vfat'])
/**
 * On FUSE the pages may be those of a passthrough file below, and opening costs the server work; a dead network server
 * would hang the walk at the first open; ZFS has a cache of its own beside the page cache.
 */
const KEEPS_RESIDENCY = /^(fuse|nfs|cifs$|smb|ceph$|9p$|zfs$|afs$|lustre$|gfs2$|ocfs2$)/

/** Looking at a file on such a file system may wait for somebody who does not answer. */
export function isRemote(kind: string): boolean {
  return KEEPS_RESIDENCY.test(kind)
}

/** A file system as inspect sees it. */
function describeFilesystem(identified: Filesystem): WalkedFilesystem {
  const { kind } = identified
  const leftOut = SHOWS_THE_KERNEL.has(kind)
    ? 'it shows the kernel, not a disk'
    : livesInMemory(kind)
      ? 'it lies in memory, not on a disk'
      : undefined
  const sharing = identified.hasTrustedAddresses
    ? identified.hasReflinks
      ? 'extents'
      : 'none'
    : NEVER_SHARES.has(kind)
      ? 'none'
      : 'unknown'
  const residency = kind === 'overlay' ? 'mincore' : KEEPS_RESIDENCY.test(kind) ? 'unknown' : 'cachestat'
  const isView = SHOWS_OTHERS.has(kind)
  return { identified, sharing, residency, leftOut, isView, ranges: new RangeTable(), files: 0 }
}

/** The devices and file systems met so far. */
export class WalkedFilesystems {
  readonly #devices = new Map<number, WalkedDevice>()
  readonly #filesystems = new Map<string, WalkedFilesystem>()
  #last: WalkedDevice | undefined

  /** The device of `stat`, which came from `fd`. Throws a SystemError if it cannot be identified. */
  of(stat: Statx, fd: number): WalkedDevice {
    const number = deviceNumber(stat)
    const known = this.find(number)
    if (known !== undefined) return known
    const identified = identifyFilesystem(fd)
    let filesystem = this.#filesystems.get(identified.identity)
    if (filesystem === undefined) {
      filesystem = describeFilesystem(identified)
      this.#filesystems.set(identified.identity, filesystem)
    }
    const device = { number, filesystem, directories: new InodeSet(), files: new InodeSet() }
    this.#devices.set(number, device)
    return device
  }

  /** By {@link deviceNumber}; files mostly lie where their neighbours do. */
  find(number: number): WalkedDevice | undefined {
    if (this.#last?.number === number) return this.#last
    const found = this.#devices.get(number)
    if (found !== undefined) this.#last = found
    return found
  }

  all(): WalkedFilesystem[] {
    return [...this.#filesystems.values()]
  }
}

export function deviceNumber(stat: Statx): number {
  return stat.devMajor * 2 ** 32 + stat.devMinor
}
