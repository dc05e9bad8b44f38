/**
 * What btrfs tells about itself.
 *
 * ```
 * struct btrfs_ioctl_fs_info_args   offset, 1024 bytes
 *   max_id u64  0   num_devices u64  8   fsid  16
 *   nodesize u32 32   sectorsize u32 36   flags u64 48   generation u64 56
 * ```
 */
import { ioctl, ioctlRequest } from './ioctl.ts'

const BTRFS_IOC_FS_INFO = ioctlRequest('read', 0x94, 31, 1024)
const BTRFS_FS_INFO_FLAG_GENERATION = 2
const TWO_32 = 2 ** 32

const info = new Uint32Array(256)

/** The file system's UUID as 32 hex digits, or undefined if `fd` (not O_PATH) is not on btrfs. */
export function btrfsUuid(fd: number): string | undefined {
  info.fill(0)
  if (ioctl(fd, BTRFS_IOC_FS_INFO, info) < 0) return undefined
  return Buffer.from(info.buffer, 16, 16).toString('hex')
}

/**
 * Number of the transaction that changes go into now, or -errno (ENOTTY: no btrfs) or 0 (before Linux 5.10). It grows; blocks
 * that a transaction frees get no new content before a later one. `fd` not O_PATH.
 */
export function btrfsGeneration(fd: number): number {
  info.fill(0)
  info[12] = BTRFS_FS_INFO_FLAG_GENERATION
  const error = ioctl(fd, BTRFS_IOC_FS_INFO, info)
  if (error < 0) return error
  // An older kernel leaves the flag unset in its answer.
  if ((info[12]! & BTRFS_FS_INFO_FLAG_GENERATION) === 0) return 0
  return info[15]! * TWO_32 + info[14]!
}
