/** WRITE, FALLOCATE, COPY_FILE_RANGE: the path of a write through the daemon. It is write-through: the file itself has the bytes when it returns. */

import type { Reply, Request } from '../../fuse/messages.ts'
import { IN, type OpcodeName, WRITE_KILL_SUIDGID, WRITE_OUT_BYTES } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { append, copyFileRange, fallocate, fdatasync, fsync, pwrite } from '../../linux/change.ts'
import { ERRNO } from '../../linux/errors.ts'
import { O_APPEND, O_DSYNC, O_NONBLOCK, O_RDONLY, O_SYNC, O_WRONLY } from '../../linux/file.ts'
import { changeData } from '../changes.ts'
import type { Credentials } from '../credentials.ts'
import { OPEN_APPEND_ONLY, OPEN_DSYNC, OPEN_SYNC, ownHandle } from '../open-handle.ts'
import { SERVED } from '../slot-serving.ts'
import { type Context, slotOf, withOpen } from './context.ts'
import { changeAndDropSetId } from './set-id.ts'

// Constants of this module, see cache/lookup.ts.
const {
  fh: FH,
  fhUpper: FH_UPPER,
  offset: OFFSET,
  size: SIZE,
  writeFlags: WRITE_FLAGS,
  flags: FLAGS,
  body: BODY,
} = IN.WRITE

/** As much as one copy_file_range(2) moves. */
const COPY_BYTES_MAX = 0x7ffff000

/** The nodeid of the file that a COPY_FILE_RANGE writes to. */
export function copyTargetOf(request: Request): number {
  return request.u64(IN.COPY_FILE_RANGE.nodeidOut)
}

export function writingHandlers(context: Context, credentials: Credentials): Partial<Record<OpcodeName, Handler>> {
  const { serving } = context

  function copy(request: Request): number {
    const { fhIn, offIn, fhOut, offOut, len } = IN.COPY_FILE_RANGE
    const from = slotOf(request.nodeid)
    const to = slotOf(copyTargetOf(request))
    const fromOffset = request.long(offIn)
    const toOffset = request.long(offOut)
    const length = Math.min(request.u64(len), COPY_BYTES_MAX)
    const copied = withOpen(context, from, ownHandle(request.u32(fhIn)), O_RDONLY | O_NONBLOCK, (fromFd) =>
      withOpen(context, to, ownHandle(request.u32(fhOut)), O_WRONLY, (toFd) =>
        changeData(context, to, toFd, Number(toOffset), Number(toOffset) + length, () =>
          credentials.writing(request, () => copyFileRange(fromFd, fromOffset, toFd, toOffset, length)),
        ),
      ),
    )
    // It may share now what it did not, and nothing of it shows that: a file has no new ctime when it is cloned.
    if (copied > 0 && serving.kind(from) === SERVED.PRIVATE) serving.forgetDecision(from)
    return copied
  }

  function written(length: number, reply: Reply): number {
    if (length < 0) return length
    reply.setU64(0, length, 0)
    return WRITE_OUT_BYTES
  }

  /** A write may ask to be on the disk by flags of its own, RWF_DSYNC and RWF_SYNC, which the kernel tells as those of an open: 0, or a negative errno. */
  function syncAsAsked(fd: number, flags: number, marks: number): number {
    if ((flags & O_SYNC) === O_SYNC) return (marks & OPEN_SYNC) === 0 ? fsync(fd) : 0
    return (flags & O_DSYNC) !== 0 && (marks & OPEN_DSYNC) === 0 ? fdatasync(fd) : 0
  }

  return {
    WRITE(request, reply) {
      const handle = ownHandle(request.u32(FH))
      if (handle === 0) return -ERRNO.EBADF
      const slot = slotOf(request.nodeid)
      const offset = request.long(OFFSET)
      const data = request.data(BODY, request.u32(SIZE))
      const marks = request.u32(FH_UPPER)
      const flags = request.u32(FLAGS)
      // Stores through a mapping go where they were made, as do writes since fcntl(2) has taken O_APPEND away; and since it was set, to the end. With stores the kernel tells no flags.
      const appends = (flags & O_APPEND) !== 0
      // That is refused as long as the file may only be appended to.
      const isElsewhere = !appends && (marks & OPEN_APPEND_ONLY) !== 0
      const length = withOpen(context, slot, isElsewhere ? 0 : handle, O_WRONLY | (flags & O_SYNC), (fd) => {
        // The end may lie before where the kernel takes it to be.
        const start =
          appends && context.stat.ofFd(fd) === 0 ? Math.min(Number(offset), context.stat.size) : Number(offset)
        const put = () =>
          changeData(context, slot, fd, start, Number(offset) + data.length, () => {
            const count = credentials.writing(request, () =>
              appends ? append(fd, data) : pwrite(fd, data, data.length, offset),
            )
            return count < 0 || isElsewhere ? count : syncAsAsked(fd, flags, marks) || count
          })
        return request.u32(WRITE_FLAGS) & WRITE_KILL_SUIDGID
          ? changeAndDropSetId(credentials, request, fd, context.stat, put)
          : put()
      })
      return written(length, reply)
    },

    FALLOCATE(request) {
      const offset = request.long(IN.FALLOCATE.offset)
      const length = request.long(IN.FALLOCATE.length)
      const slot = slotOf(request.nodeid)
      return withOpen(context, slot, ownHandle(request.u32(IN.FALLOCATE.fh)), O_WRONLY, (fd) =>
        changeData(context, slot, fd, Number(offset), Number(offset) + Number(length), () =>
          credentials.writing(request, () => fallocate(fd, request.u32(IN.FALLOCATE.mode), offset, length)),
        ),
      )
    },

    COPY_FILE_RANGE: (request, reply) => written(copy(request), reply),
  }
}
