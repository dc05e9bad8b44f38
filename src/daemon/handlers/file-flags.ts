/**
 * IOCTL, of which four are passed on to the file below: reading and setting the attributes of lsattr(1), chattr(1) and xfs_io(8). The kernel sends them on behalf of its own, with a
 * file that it opens for the occasion (fuse_fileattr_get, fuse_fileattr_set).
 *
 * Who may set what is for the kernel to check first, against the mount: that it can be written, that the file is the client's own or that he has CAP_FOWNER, that he has
 * CAP_LINUX_IMMUTABLE where `i` or `a` changes, and that project ids change in the initial user namespace only (vfs_fileattr_set). It does so since Linux 5.13; before, such a request
 * came unchecked, and is refused here. Then it is the client who sets them below, so that the file system checks once more. Privileges that a client has without being root are not
 * passed on: he gets EPERM.
 */
import type { Request } from '../../fuse/messages.ts'
import { invalidateInode } from '../../fuse/notify.ts'
import { IN, IOCTL_OUT_BYTES } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { O_NONBLOCK, O_RDONLY } from '../../linux/file.ts'
import {
  FLAGS_BYTES,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FSXATTR_BYTES,
  readFlags,
  readFsxattr,
  writeFlags,
  writeFsxattr,
} from '../../linux/file-attributes.ts'
import { isKernelOlder } from '../../linux/kernel-version.ts'
import type { Credentials } from '../credentials.ts'
import { type Context, slotOf, withOpen } from './context.ts'

const READING = {
  [FS_IOC_GETFLAGS]: { bytes: FLAGS_BYTES, read: readFlags },
  [FS_IOC_FSGETXATTR]: { bytes: FSXATTR_BYTES, read: readFsxattr },
}
const SETTING = {
  [FS_IOC_SETFLAGS]: { bytes: FLAGS_BYTES, write: writeFlags },
  [FS_IOC_FSSETXATTR]: { bytes: FSXATTR_BYTES, write: writeFsxattr },
}

/** `credentials`: of a mount that can be written. */
export function ioctlHandler(context: Context, credentials?: Credentials): Handler {
  const { files, noticeFd } = context
  const isChecked = !isKernelOlder(5, 13)

  function withFile(request: Request, call: (fd: number) => number): number {
    const slot = slotOf(request.nodeid)
    if (files.isHidden(slot)) return -ERRNO.ENOTTY
    // A descriptor of its own: what the handle stands for may be a home, or nothing.
    return withOpen(context, slot, 0, O_RDONLY | O_NONBLOCK, call)
  }

  return (request, reply) => {
    const command = request.u32(IN.IOCTL.cmd)
    const reading = READING[command]
    if (reading !== undefined) {
      const bytes = request.u32(IN.IOCTL.outSize)
      if (bytes < reading.bytes || bytes > FSXATTR_BYTES) return -ERRNO.ENOTTY
      reply.zero(0, IOCTL_OUT_BYTES + bytes)
      const error = withFile(request, (fd) => reading.read(fd, reply.payload.subarray(IOCTL_OUT_BYTES)))
      return error < 0 ? error : IOCTL_OUT_BYTES + bytes
    }
    const setting = SETTING[command]
    if (setting === undefined || !isChecked || request.u32(IN.IOCTL.inSize) !== setting.bytes) return -ERRNO.ENOTTY
    if (credentials === undefined) return -ERRNO.EROFS
    const data = request.data(IN.IOCTL.body, setting.bytes)
    if (data.length < setting.bytes) return -ERRNO.EINVAL
    const error = withFile(request, (fd) => credentials.as(request, 0, () => setting.write(fd, data)))
    if (error < 0) return error
    // The ctime has moved, and this request tells the kernel of no attributes.
    invalidateInode(noticeFd, request.nodeid, -1, 0)
    reply.zero(0, IOCTL_OUT_BYTES)
    return IOCTL_OUT_BYTES
  }
}
