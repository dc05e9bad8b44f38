/** Which bytes of which files a request reads or changes: what decides whether it has to wait for a grant. */

import type { Request } from '../../fuse/messages.ts'
import { FATTR, IN, OPCODE_ROWS, type OpcodeName, READ_LOCKOWNER, WRITE_CACHE } from '../../fuse/protocol.ts'
import { O_NONBLOCK } from '../../linux/file.ts'
import { slotOf } from '../inode-table.ts'
import { OPEN_IMPATIENT } from '../open-handle.ts'

// Constants of this module, see cache/lookup.ts: while anything is granted, each read and write is looked at.
const { offset: READ_OFFSET, size: READ_SIZE, readFlags: READ_FLAGS } = IN.READ
const { offset: WRITE_OFFSET, size: WRITE_SIZE, writeFlags: WRITE_FLAGS } = IN.WRITE

/** Is told of bytes [start, end) of the file in a slot; says whether it has heard enough. */
export type Tell = (slot: number, start: number, end: number, writes: boolean) => boolean

const touches = {
  READ: (request, tell) => {
    const offset = request.u64(READ_OFFSET)
    return tell(slotOf(request.nodeid), offset, offset + request.u32(READ_SIZE), false)
  },
  WRITE: (request, tell) => {
    const offset = request.u64(WRITE_OFFSET)
    return tell(slotOf(request.nodeid), offset, offset + request.u32(WRITE_SIZE), true)
  },
  SETATTR: (request, tell) =>
    (request.u32(IN.SETATTR.valid) & FATTR.SIZE) !== 0 &&
    tell(slotOf(request.nodeid), request.u64(IN.SETATTR.size), Number.POSITIVE_INFINITY, true),
  FALLOCATE: (request, tell) => {
    const offset = request.u64(IN.FALLOCATE.offset)
    return tell(slotOf(request.nodeid), offset, offset + request.u64(IN.FALLOCATE.length), true)
  },
  COPY_FILE_RANGE: (request, tell) => {
    const { offIn, nodeidOut, offOut, len } = IN.COPY_FILE_RANGE
    const length = request.u64(len)
    const from = request.u64(offIn)
    const to = request.u64(offOut)
    return (
      tell(slotOf(request.nodeid), from, from + length, false) ||
      tell(slotOf(request.u64(nodeidOut)), to, to + length, true)
    )
  },
} as const satisfies Partial<Record<OpcodeName, (request: Request, tell: Tell) => boolean>>

type Touching = keyof typeof touches
export const TOUCHING = Object.keys(touches) as readonly Touching[]

const nameOf = new Map(OPCODE_ROWS.map(({ code, name }) => [code, name]))

/** Tells `tell` of each range that a request of one of {@link TOUCHING} touches, until it has heard enough: whether it has. */
export function touched(name: Touching, request: Request, tell: Tell): boolean {
  return touches[name](request, tell)
}

/** As {@link touched}, of any request. */
export function touchedBy(request: Request, tell: Tell): boolean {
  const name = nameOf.get(request.opcode)
  return name !== undefined && name in touches && touches[name as Touching](request, tell)
}

/** Whether the request is of an open file with O_NONBLOCK: where it would have to wait for a holder it fails. Of truncation that counts which was given to open(2). */
export function wouldNotWait(request: Request): boolean {
  switch (nameOf.get(request.opcode)) {
    case 'SETATTR': {
      const { valid, fhUpper } = IN.SETATTR
      return (request.u32(valid) & FATTR.FH) !== 0 && (request.u32(fhUpper) & OPEN_IMPATIENT) !== 0
    }
    case 'READ':
      return (request.u32(IN.READ.flags) & O_NONBLOCK) !== 0
    case 'WRITE':
      return (request.u32(IN.WRITE.flags) & O_NONBLOCK) !== 0
    default:
      return false
  }
}

/**
 * Whether the kernel makes the request for itself, to fill or to write back a page that somebody has mapped. It holds the page meanwhile; no signal
 * may end it, for whoever touches the page would be killed.
 */
export function isOfMapping(request: Request): boolean {
  const name = nameOf.get(request.opcode)
  if (name === 'READ') return (request.u32(READ_FLAGS) & READ_LOCKOWNER) === 0
  return name === 'WRITE' && (request.u32(WRITE_FLAGS) & WRITE_CACHE) !== 0
}
