/** OPEN, RELEASE of regular files, by ../opening-below.ts and ../served-opens.ts. */
import { invalidateInode } from '../../fuse/notify.ts'
import { IN, type OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, O_ACCMODE, O_NONBLOCK, O_RDWR } from '../../linux/file.ts'
import { SLOT } from '../inode-table.ts'
import type { NearServing } from '../near/near-serving.ts'
import { isWriting } from '../open-flags.ts'
import { OpeningBelow } from '../opening-below.ts'
import { RELEASED, UNDECIDED } from '../served-opens.ts'
import { type Context, nodeidOf, slotOf } from './context.ts'
import { lockKeyOf } from './locking.ts'
import { freeSlot } from './lookup.ts'

// Constants of this module, see cache/lookup.ts.
const { flags: OPEN_FLAGS } = IN.OPEN
const { fh: FH, fhUpper: FH_UPPER, flags: FLAGS } = IN.RELEASE

/** `near`: where memory is near somebody. */
export function openingHandlers(context: Context, near: NearServing | undefined): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, locks, opening, stat } = context
  const below = new OpeningBelow(context)

  return {
    OPEN(request, reply) {
      const slot = slotOf(request.nodeid)
      const flags = request.u32(OPEN_FLAGS)
      const opened = opening.openWarm(slot, flags, stat, reply)
      if (opened !== UNDECIDED) return opened
      let fd = below.open(slot, flags, request.pid, stat)
      if (fd < 0) return fd
      near?.opened(fd, request.pid)
      // Before the answer: the size that the client asks for next is to be the new one. It waits for no other request, as it drops no pages.
      // Also where stores through a mapping that is passed through are going to change them without a word.
      if (opening.attributesAreOld(slot, stat) || (flags & O_ACCMODE) === O_RDWR)
        invalidateInode(context.noticeFd, request.nodeid, -1, 0)
      const joined = inodes.lockOf(slot).locked(() => opening.join(slot, fd, stat, flags, reply))
      if (joined !== UNDECIDED) return joined
      if (isWriting(flags)) {
        // What is open for writing proves nothing.
        const readFd = files.open(slot, O_NONBLOCK)
        // The daemon of an ordinary user may be as little allowed to read it as he is.
        if (readFd === -ERRNO.EACCES)
          return inodes.lockOf(slot).locked(() => opening.joinUnread(slot, fd, stat, flags, reply))
        close(fd)
        fd = readFd
        if (fd < 0) return fd
        near?.opened(fd, request.pid)
      }
      const { uniqueLow, uniqueHigh } = request
      context.tellKeeper({ type: 'open', slot, fd, flags, fuseFd: context.answerFd, uniqueLow, uniqueHigh })
      return NO_REPLY
    },

    RELEASE(request) {
      const slot = slotOf(request.nodeid)
      if (locks.mayHaveLocks(inodes.get(slot, SLOT.INO_LOW)))
        context.tellKeeper({ type: 'released', key: lockKeyOf(inodes, slot), open: request.u32(FH_UPPER) })
      const released = opening.release(slot, request.u32(FH), request.u32(FH_UPPER), request.u32(FLAGS))
      // The copy that the kernel made for mappings of this file is no longer needed: all of its memory goes.
      if (released & RELEASED.COPIED) context.invalidate({ nodeid: nodeidOf(slot), offset: 0 })
      if (released & RELEASED.UNUSED) freeSlot(context, slot)
      return 0
    },
  }
}
