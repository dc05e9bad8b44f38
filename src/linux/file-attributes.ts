/** The attributes of a file that chattr(1) and xfs_io(8) set: its flags, and struct fsxattr, with the project id. */
import { throwIfNegative } from './errors.ts'
import { ioctl, ioctlPointerCall, ioctlRequest } from './ioctl.ts'
import { callAsync, type Pointer } from './native.ts'

export const FS_IOC_GETFLAGS = ioctlRequest('read', 'f', 1, 8)
export const FS_IOC_SETFLAGS = ioctlRequest('write', 'f', 2, 8)
export const FS_IOC_FSGETXATTR = ioctlRequest('read', 'X', 31, 28)
export const FS_IOC_FSSETXATTR = ioctlRequest('write', 'X', 32, 28)

/** What the kernel reads and writes of the flags, whatever size their requests name. */
export const FLAGS_BYTES = 4
/** sizeof(struct fsxattr). */
export const FSXATTR_BYTES = 28

/** Flags of FS_IOC_GETFLAGS, as lsattr(1) shows them. */
export const FS_FLAG = {
  /** nodatacow of btrfs: written in place, without checksums. */
  NOCOW: 0x800000,
} as const

/** Flags of struct fsxattr. */
export const FS_XFLAG = {
  /** The data lies on the realtime device of XFS. */
  REALTIME: 0x1,
  /** Defragmenters are to leave the file alone. */
  NODEFRAG: 0x2000,
} as const

/** Fills `flags`, 4 bytes: 0 or -errno (ENOTTY: the file system has none). Not for O_PATH. */
export function readFlags(fd: number, flags: Pointer): number {
  return ioctl(fd, FS_IOC_GETFLAGS, flags)
}

/** Sets the flags of a file, 4 bytes: 0 or -errno. */
export function writeFlags(fd: number, flags: Pointer): number {
  return ioctl(fd, FS_IOC_SETFLAGS, flags)
}

/** Fills a struct fsxattr: 0 or -errno (ENOTTY: the file system has none). Not for O_PATH. */
export function readFsxattr(fd: number, attributes: Pointer): number {
  return ioctl(fd, FS_IOC_FSGETXATTR, attributes)
}

/** Sets what struct fsxattr says: 0 or -errno. */
export function writeFsxattr(fd: number, attributes: Pointer): number {
  return ioctl(fd, FS_IOC_FSSETXATTR, attributes)
}

/** FS_FLAG bits of the file, or -errno (ENOTTY: the file system has none). Not for O_PATH. */
export function getFlags(fd: number): number {
  const flags = new Uint32Array(1)
  const result = readFlags(fd, flags)
  return result < 0 ? result : flags[0]!
}

/** FS_XFLAG bits of the file, or -errno (ENOTTY: the file system has none). Not for O_PATH. */
export function getXflags(fd: number): number {
  const attributes = new Uint32Array(FSXATTR_BYTES / 4)
  const result = readFsxattr(fd, attributes)
  return result < 0 ? result : attributes[0]!
}

/** Sets FS_XFLAG bits beside those that are set, on the libuv pool: it waits for the file system's journal. Rejects with a SystemError. `fd` must be open for writing. */
export async function addXflagsAsync(fd: number, flags: number): Promise<void> {
  const attributes = new Uint32Array(FSXATTR_BYTES / 4)
  throwIfNegative(readFsxattr(fd, attributes), 'ioctl FSGETXATTR')
  attributes[0] = attributes[0]! | flags
  await callAsync(ioctlPointerCall, 'ioctl FSSETXATTR', undefined, fd, FS_IOC_FSSETXATTR, attributes)
}
