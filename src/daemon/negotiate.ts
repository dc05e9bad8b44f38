import { answerInit, type InitWishes, type Session } from '../fuse/init.ts'
import { Reply, Request } from '../fuse/messages.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { read, waitReadable, write } from '../linux/fuse-device.ts'

/** Waits for INIT on `fuseFd` and answers it. Throws where the kernel is too old, or the mount went away. Blocks. */
export function negotiate(fuseFd: number, wishes: InitWishes): Session {
  const request = new Request(wishes.maxReadBytes + 4096)
  const reply = new Reply(4096)
  const session: Session = {
    minor: 0,
    passthrough: false,
    directIoMmap: false,
    setxattrExt: false,
    maxReadBytes: 0,
  }
  while (session.minor === 0) {
    const ready = waitReadable(fuseFd, -1)
    const length = ready < 0 ? ready : read(fuseFd, request.bytes, request.bytes.length)
    if (length === -ERRNO.EINTR || length === -ERRNO.EAGAIN || length === -ERRNO.ENOENT) continue
    if (length === -ERRNO.ENODEV) throw new Error('it was unmounted before it was ready')
    if (length < 0) throw new SystemError(-length, 'read', '/dev/fuse')
    const result = answerInit(request, reply, wishes, session)
    const failed = result < 0
    const bytes = reply.finish(request.uniqueLow, request.uniqueHigh, failed ? result : 0, failed ? 0 : result)
    write(fuseFd, reply.bytes, bytes)
    if (failed) throw new Error(`the kernel speaks FUSE 7.${request.u32(4)}; Samepage needs 7.31 (Linux 5.4) or newer`)
  }
  return session
}
