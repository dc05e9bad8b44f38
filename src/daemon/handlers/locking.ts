/** GETLK, SETLK, SETLKW, FLUSH: locks of a mount that can be written to. The keeper answers; a close of what nobody locked is answered here. */

import type { Request } from '../../fuse/messages.ts'
import { LK_FLOCK, type OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { type InodeTable, SLOT } from '../inode-table.ts'
import type { LockRequest } from '../locks/lock-table.ts'
import type { Asked } from '../shared-state.ts'
import { type Context, slotOf } from './context.ts'

export function lockingHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, locks } = context

  function ask(type: 'findLock' | 'setLock', request: Request, waits: boolean): number {
    const slot = slotOf(request.nodeid)
    const lock: LockRequest = {
      key: lockKeyOf(inodes, slot),
      inoLow: inodes.get(slot, SLOT.INO_LOW),
      slot,
      open: request.u32(4),
      owner: ownerAt(request, 8),
      start: request.i64(16),
      end: request.i64(24),
      type: request.u32(32),
      pid: request.u32(36),
      isWhole: (request.u32(40) & LK_FLOCK) !== 0,
      waits,
    }
    context.tellKeeper({ type, lock, ...asked(request) })
    return NO_REPLY
  }

  const asked = ({ uniqueLow, uniqueHigh }: Request): Asked => ({ fuseFd: context.answerFd, uniqueLow, uniqueHigh })

  return {
    GETLK: (request) => ask('findLock', request, false),
    SETLK: (request) => ask('setLock', request, false),
    SETLKW: (request) => ask('setLock', request, true),

    FLUSH(request) {
      const slot = slotOf(request.nodeid)
      if (!locks.mayHaveLocks(inodes.get(slot, SLOT.INO_LOW))) return 0
      const key = lockKeyOf(inodes, slot)
      context.tellKeeper({ type: 'flush', key, owner: ownerAt(request, 16), ...asked(request) })
      return NO_REPLY
    },
  }
}

/** Names the inode in a slot, whatever other slots it has. While it is open, and only then it has locks, nobody else gets its number. */
export function lockKeyOf(inodes: InodeTable, slot: number): string {
  return `${inodes.get(slot, SLOT.FS)}:${inodes.get(slot, SLOT.INO_HIGH)}:${inodes.get(slot, SLOT.INO_LOW)}`
}

const ownerAt = (request: Request, offset: number): string => `${request.u32(offset + 4)}:${request.u32(offset)}`
