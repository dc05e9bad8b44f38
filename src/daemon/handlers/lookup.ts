/** LOOKUP, FORGET: inodes are known to the kernel from when it finds them by a name until it forgets them. */
import type { OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { SLOT } from '../inode-table.ts'
import { type Context, nodeidOf, setEntry, slotOf } from './context.ts'

/** How often what was found by a name may be gone at once, with another of the same name in its place. */
const KEEP_TRIES = 100

export function lookupHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, toldStale, stat } = context

  function forget(nodeid: number, count: number): void {
    const slot = slotOf(nodeid)
    if (inodes.isInUse(slot) && inodes.forget(slot, count)) freeSlot(context, slot)
  }

  /** As {@link InodeFiles.lookUp}, which found `slot`, for a thread that was told ESTALE: what it finds now is there when it asks for it, whatever becomes of the name. */
  function keepFound(thread: number, parent: number, name: Uint8Array, found: number): number {
    let slot = found
    for (let tries = 0; slot >= 0; tries++) {
      // Of others there is a descriptor as long as the kernel knows them.
      const isKept = stat.isDirectory || inodes.get(slot, SLOT.HANDLE_SIZE) === 0
      const fd = isKept ? -1 : files.pin(slot)
      if (fd !== -ERRNO.ESTALE || tries === KEEP_TRIES) {
        toldStale.found(thread, slot, Math.max(fd, -1))
        return slot
      }
      // It went between the two looks.
      forget(nodeidOf(slot), 1)
      slot = files.lookUp(parent, name, stat)
    }
    toldStale.missed(thread, parent)
    return slot
  }

  return {
    LOOKUP(request, reply) {
      const parent = slotOf(request.nodeid)
      const name = request.name()
      let slot = files.lookUp(parent, name, stat)
      if (toldStale.isLooking(request.pid)) slot = keepFound(request.pid, parent, name, slot)
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
