/** LOOKUP, FORGET: inodes are known to the kernel from when it finds them by a name until it forgets them. */
import type { OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { type Context, setEntry, slotOf } from './context.ts'

export function lookupHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, stat } = context

  function forget(nodeid: number, count: number): void {
    const slot = slotOf(nodeid)
    if (inodes.isInUse(slot) && inodes.forget(slot, count)) freeSlot(context, slot)
  }

  return {
    LOOKUP(request, reply) {
      const slot = files.lookUp(slotOf(request.nodeid), request.name(), stat)
      if (slot < 0) return slot
      if (!stat.isDirectory) context.advice.fileWasLookedUp()
      return setEntry(context, slot, reply, 0)
    },

    FORGET(request) {
      forget(request.nodeid, request.u64(0))
      return NO_REPLY
    },

    BATCH_FORGET(request) {
      const count = request.u32(0)
      for (let i = 0; i < count; i++) forget(request.u64(8 + i * 16), request.u64(16 + i * 16))
      return NO_REPLY
    },
  }
}

/** Of an inode that nobody knows any more. */
export function freeSlot(context: Context, slot: number): void {
  const map = context.serving.reset(slot)
  if (map !== 0) context.tellKeeper({ type: 'unmap', map })
  context.warm.cool(slot)
  context.files.free(slot)
}
