/**
 * What XFS tells about itself: XFS_IOC_FSGEOMETRY_V1, which every XFS since 2.6 answers, and FS_IOC_FSGETXATTR, which was its own once and others answer too.
 *
 * ```
 * struct xfs_fsop_geom_v1   offset, 112 bytes
 *   blocksize u32  0   …   uuid  64   sunit u32 80   swidth u32 84   version s32 88   flags u32 92   …
 *
 * struct fsxattr            offset, 28 bytes
 *   xflags    u32  0   …
 * ```
 */
import { ioctl, ioctlRequest } from './ioctl.ts'

const XFS_IOC_FSGEOMETRY_V1 = ioctlRequest('read', 'X', 100, 112)
const XFS_FSOP_GEOM_FLAGS_REFLINK = 1 << 20
const FS_IOC_FSGETXATTR = ioctlRequest('read', 'X', 31, 28)
const FS_XFLAG_DAX = 0x8000

interface XfsGeometry {
  /** Bytes. */
  readonly blockSize: number
  /** Hex digits. */
  readonly uuid: string
  /** Was it made with reflink support? */
  readonly reflink: boolean
}

/** undefined if `fd` (not O_PATH) is not on XFS. Any thread. */
export function xfsGeometry(fd: number): XfsGeometry | undefined {
  const answer = Buffer.alloc(112)
  if (ioctl(fd, XFS_IOC_FSGEOMETRY_V1, answer) < 0) return undefined
  return {
    blockSize: answer.readUInt32LE(0),
    uuid: answer.toString('hex', 64, 80),
    reflink: (answer.readUInt32LE(92) & XFS_FSOP_GEOM_FLAGS_REFLINK) !== 0,
  }
}

/** Whether a file (not O_PATH) has the flag for DAX, or a directory hands it on. It takes effect with the mount option dax=inode. False where there are no such flags. */
export function hasDaxFlag(fd: number): boolean {
  const answer = Buffer.alloc(28)
  return ioctl(fd, FS_IOC_FSGETXATTR, answer) >= 0 && (answer.readUInt32LE(0) & FS_XFLAG_DAX) !== 0
}
