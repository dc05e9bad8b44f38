/** READs that touch homes which lie on devices: what a worker copies them with, and what it counts. One for each worker. */
import type { Reply, Request } from '../../fuse/messages.ts'
import { ContentReader } from '../content/content-reader.ts'
import type { ArenaMemory } from '../content/mount-arena.ts'
import { NearContentReader } from '../content/near-content-reader.ts'
import type { NearServing } from '../near/near-serving.ts'
import type { RequestStats } from '../request-stats.ts'
import type { MountDaxMode, ToKeeper } from '../shared-state.ts'
import type { DirectHome } from './direct-homes.ts'
import { DirectReads, PromotedReads } from './direct-reads.ts'

interface DirectReadingParts {
  readonly worker: number
  readonly stats: RequestStats
  readonly tellKeeper: (message: ToKeeper) => void
}

export class DirectReading {
  readonly #parts: DirectReadingParts
  readonly #reads: DirectReads
  readonly #near: NearServing | undefined
  /** Those of {@link #reads}, where there are copies, and where those lie near somebody. */
  #promoted: PromotedReads | undefined
  #nearReader: NearContentReader | undefined

  /** `arena`: where copies of pages are, with `auto`. `near`: where it is near somebody. */
  constructor(
    mode: MountDaxMode,
    arena: ArenaMemory | undefined,
    near: NearServing | undefined,
    parts: DirectReadingParts,
  ) {
    this.#parts = parts
    this.#near = near
    this.#reads = mode === 'auto' && arena !== undefined ? this.#promotedReads(arena) : new DirectReads()
  }

  #promotedReads(arena: ArenaMemory): DirectReads {
    const { tellKeeper } = this.#parts
    this.#nearReader =
      arena.near &&
      new NearContentReader(arena, arena.near, (node, samples) => tellKeeper({ type: 'sampled', node, samples }))
    this.#promoted = new PromotedReads(this.#nearReader ?? new ContentReader(arena), (node, samples) =>
      tellKeeper({ type: 'directSampled', node, samples }),
    )
    return this.#promoted
  }

  /** Answers a READ of `size` bytes from `fd` by `fill`, which gives bytes or -errno and takes what lies in homes by {@link copy}: what a handler returns. */
  serve(fd: number, size: number, request: Request, reply: Reply, fill: (reply: Reply) => number): number {
    const near = this.#near
    const reader = this.#nearReader
    if (near === undefined || reader === undefined) return fill(reply)
    return near.serve(fd, size, request, reply, (reply, here, node) => {
      reader.at(here, node)
      this.#promoted!.at(reader.isByNode ? node : here)
      const result = fill(reply)
      this.#parts.stats.addFromAfar(this.#parts.worker, reader.takeBytesFar())
      return result
    })
  }

  /** Copies `length` bytes of a home from `position` on to the start of `target`; false where they cannot be had here. */
  copy(home: DirectHome | undefined, position: number, target: Uint8Array, length: number): boolean {
    const reads = this.#reads
    if (home === undefined || !reads.covers(home, position, length)) return false
    reads.pagesDirect = reads.bytesPromoted = 0
    reads.copy(home, position, target, length)
    const { stats, worker } = this.#parts
    stats.addDirect(worker, reads.pagesDirect)
    stats.addFromArena(worker, reads.bytesPromoted)
    stats.addFromHomes(worker, length - reads.bytesPromoted)
    return true
  }
}
