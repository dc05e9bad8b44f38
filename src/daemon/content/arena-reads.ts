/**
 * READ of a file that is held in the arena, as a worker does it: what is there is copied to the reply; where something is missing the request goes to the keeper
 * (handed-reads.ts), and the worker is free again. Once anything of the file was written, what is missing is not loaded any more, and the worker reads it from the file.
 * What lies ahead of a sequential reader is asked for in the same way.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { PieceWalk } from '../../cache/resolve.ts'
import { ARENA } from '../../cache/run-map.ts'
import type { Reply, Request } from '../../fuse/messages.ts'
import { NO_REPLY } from '../../fuse/server.ts'
import { O_DIRECT, O_NONBLOCK, O_RDONLY, reopen } from '../../linux/file.ts'
import type { InodeTable } from '../inode-table.ts'
import type { RequestStats } from '../request-stats.ts'
import type { MappedFile } from '../run-maps.ts'
import { SequentialReader } from '../sequential-reader.ts'
import type { ToKeeper } from '../shared-state.ts'
import type { ContentReader } from './content-reader.ts'

/** Bytes ahead of the reader: two loads, one of which is under way while the other is read. */
const WINDOW_BYTES = 2 << 20

export interface ArenaReadsParts {
  readonly worker: number
  readonly fuseFd: number
  readonly inodes: InodeTable
  readonly stats: RequestStats
  readonly tellKeeper: (message: ToKeeper) => void
  /** As pread(2); where the kernel fills a copy of its own, short only at the end of the file. */
  readonly readPiece: (fd: number, target: Uint8Array, length: number, offset: number, fills: boolean) => number
}

/** One READ. */
export interface ArenaRead {
  readonly slot: number
  readonly map: number
  readonly mapped: MappedFile
  /** The client's descriptor. */
  readonly fd: number
  readonly offset: number
  readonly size: number
  readonly fills: boolean
}

export class ArenaReads {
  readonly #parts: ArenaReadsParts
  readonly #reader: ContentReader
  readonly #ahead: SequentialReader
  readonly #walk = new PieceWalk()

  constructor(reader: ContentReader, parts: ArenaReadsParts) {
    this.#reader = reader
    this.#parts = parts
    this.#ahead = new SequentialReader(parts.inodes, WINDOW_BYTES)
  }

  /**
   * The answer's bytes in `reply`, -errno, or {@link NO_REPLY} where the keeper is going to answer. `near`: the NUMA node for which is loaded what is missing, in an arena that knows of
   * nodes.
   */
  read(read: ArenaRead, request: Request, reply: Reply, near = 0): number {
    const { worker, stats, readPiece } = this.#parts
    const { mapped, offset, size, fd, fills } = read
    const isUnwritten = mapped.own!.isEmpty
    const walk = this.#walk
    walk.start(mapped.runs, offset, size, isUnwritten ? undefined : mapped.own)
    let done = 0
    let fromArena = 0
    while (walk.next()) {
      const { length } = walk
      const target = walk.done === 0 ? reply.payload : reply.payload.subarray(walk.done)
      let have = walk.home === ARENA ? this.#reader.copy(mapped.content!, walk.offset, target, length) : 0
      fromArena += have
      if (have < length) {
        if (isUnwritten && this.#handOn(read, request, near)) return NO_REPLY
        const from = readPiece(
          fd,
          have === 0 ? target : target.subarray(have),
          length - have,
          walk.offset + have,
          fills,
        )
        if (from < 0) return done + have > 0 && !fills ? done + have : from
        stats.addFromFiles(worker, from)
        have += from
      }
      done += have
      // Short: the file was truncated; what follows is no longer there.
      if (have < length) break
    }
    stats.addFromArena(worker, fromArena)
    if (isUnwritten) this.#readAhead(read, near)
    return done
  }

  /** False where no second descriptor is to be had: the client's own is there to be read from. */
  #handOn(read: ArenaRead, { uniqueLow, uniqueHigh }: Request, near: number): boolean {
    const { slot, map, fd, offset, size, fills } = read
    const { fuseFd, tellKeeper } = this.#parts
    const loadable = this.#open(fd)
    if (loadable.loadFd < 0) return false
    tellKeeper({ type: 'read', slot, map, near, fd, offset, size, fills, fuseFd, uniqueLow, uniqueHigh, ...loadable })
    this.#readAhead(read, near)
    return true
  }

  #readAhead({ slot, map, mapped, fd, offset, size }: ArenaRead, near: number): void {
    const { sizeBytes } = mapped.runs
    const ahead = this.#ahead
    if (!ahead.reading(slot, offset, Math.min(offset + size, sizeBytes))) return
    const from = ahead.first
    const to = Math.min(ahead.end, Math.ceil(sizeBytes / PAGE_BYTES))
    if (to <= from || (this.#reader.has(mapped.content!, from) && this.#reader.has(mapped.content!, to - 1))) return
    const loadable = this.#open(fd)
    if (loadable.loadFd >= 0)
      this.#parts.tellKeeper({ type: 'readAhead', slot, map, near, page: from, count: to - from, ...loadable })
  }

  /** A descriptor of the same file, for a load: the client may close his at any time. */
  #open(fd: number): { loadFd: number; isDirect: boolean } {
    const direct = reopen(fd, O_RDONLY | O_NONBLOCK | O_DIRECT)
    return direct >= 0
      ? { loadFd: direct, isDirect: true }
      : { loadFd: reopen(fd, O_RDONLY | O_NONBLOCK), isDirect: false }
  }
}
