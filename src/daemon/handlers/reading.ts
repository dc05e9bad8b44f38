/** READ of regular files: the path of a read through the daemon. */
import type { Reply } from '../../fuse/messages.ts'
import { IN, type OpcodeName, READ_LOCKOWNER } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { EXACT_END } from '../../linux/file.ts'
import { ArenaReads, type ArenaReadsParts } from '../content/arena-reads.ts'
import { ContentReader } from '../content/content-reader.ts'
import type { ArenaMemory } from '../content/mount-arena.ts'
import { NearArenaReads } from '../content/near-arena-reads.ts'
import { DirectReading } from '../dax/direct-reading.ts'
import { SLOT } from '../inode-table.ts'
import { MappedReads, readPiece } from '../mapped-reads.ts'
import type { NearServing } from '../near/near-serving.ts'
import { ownHandle } from '../open-handle.ts'
import { OwnReadahead } from '../readahead.ts'
import { writtenOf } from '../run-maps.ts'
import { type Context, slotOf } from './context.ts'

// Constants of this module, see cache/lookup.ts.
const { fh: FH, offset: OFFSET, size: SIZE, readFlags: READ_FLAGS } = IN.READ

/** `near`: where memory is near somebody. */
export function readingHandlers(context: Context, near: NearServing | undefined): Partial<Record<OpcodeName, Handler>> {
  const { inodes, maps, options, stats, worker } = context
  const readahead = new OwnReadahead(inodes)
  // Only workers answer from the arena, or by reference: theirs is always the same.
  const fuseFd = context.answerFd
  const arena =
    context.arena && options.merge ? arenaReads(context.arena, near, { ...context, fuseFd, readPiece }) : undefined
  const direct = context.dax && new DirectReading(context.dax, context.arena, near, context)
  const pieces = new MappedReads({ ...context, fuseFd }, direct)

  function fromFile(fd: number, size: number, offset: number | bigint, fills: boolean, reply: Reply): number {
    const length = readPiece(fd, reply.payload, size, offset, fills)
    if (length > 0) stats.addFromFiles(worker, length)
    return length
  }

  return {
    READ(request, reply) {
      const handle = ownHandle(request.u32(FH))
      if (handle === 0) return -ERRNO.EBADF
      const slot = slotOf(request.nodeid)
      const fd = handle - 1
      const offset = request.u64(OFFSET)
      const size = Math.min(request.u32(SIZE), reply.capacity)
      const fills = (request.u32(READ_FLAGS) & READ_LOCKOWNER) === 0
      if (fills) {
        Atomics.store(inodes.words, inodes.at(slot) + SLOT.COPIED, 1)
        Atomics.store(inodes.words, inodes.at(slot) + SLOT.FILLED, 1)
        stats.addCopied(worker, size)
      }
      // Behind all that a map says anything exact about, and the file itself is always right.
      if (offset + size > EXACT_END) return fromFile(fd, size, request.i64(OFFSET), fills, reply)
      const map = inodes.get(slot, SLOT.MAP)
      if (map === 0) return fromFile(fd, size, offset, fills, reply)
      const mapped = maps.get(map)
      // Without the arena the file itself has all that is held there.
      if (mapped.content !== undefined)
        return arena === undefined
          ? fromFile(fd, size, offset, fills, reply)
          : arena.read({ slot, map, mapped, fd, offset, size, fills }, request, reply)
      const written = writtenOf(mapped)
      if (written === undefined) readahead.reading(slot, mapped.runs, fd, offset, size)
      if (direct !== undefined && mapped.direct !== undefined)
        return direct.serve(fd, size, request, reply, (reply) =>
          pieces.read(mapped, fd, offset, size, fills, reply, written),
        )
      if (
        written === undefined &&
        pieces.maySplice(size) &&
        pieces.splice(mapped.runs, fd, offset, size, request, reply)
      )
        return NO_REPLY
      return pieces.read(mapped, fd, offset, size, fills, reply, written)
    },
  }
}

function arenaReads(
  arena: ArenaMemory,
  near: NearServing | undefined,
  parts: ArenaReadsParts,
): ArenaReads | NearArenaReads {
  if (arena.near !== undefined && near !== undefined) return new NearArenaReads(arena, arena.near, near, parts)
  return new ArenaReads(new ContentReader(arena), parts)
}
