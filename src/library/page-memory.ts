/**
 * The memory of one cache, put together: an arena, the records of its frames and what leads to them, who says which frames are given up, and near memory where it is wanted.
 *
 * Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { allocateMemory, type CacheMemory, type CacheSizes } from '../cache/memory.ts'
import { PageKeeper } from '../cache/page-keeper.ts'
import type { Ages } from '../cache/reclaim/policy.ts'
import { ReuseClock } from '../cache/reclaim/reuse-clock.ts'
import { Arena } from './arena.ts'
import { outOfRange } from './arguments.ts'
import { MEMORY_MIN, MemoryLimit } from './memory-limit.ts'
import type { Native } from './native.ts'
import { NearMemory } from './near-memory.ts'
import type { NumaMode } from './numa.ts'

const MAPPINGS_MAX = 16_384

interface PageMemoryOptions {
  readonly numa: NumaMode
  /** As {@link CacheSizes} has them. */
  readonly threads: number
  readonly pinsPerThread: number
  /** Whether huge pages are asked for under the records. */
  readonly hugeRecords: boolean
}

export class PageMemory {
  /** What all threads see. */
  readonly shared: CacheMemory
  readonly arena: Arena
  readonly pages: PageKeeper
  readonly limit: MemoryLimit
  /** Undefined where it is not wanted, or there is but one node. */
  readonly near: NearMemory | undefined

  /** `bytes`: for pages and indexes. Throws what the system says where there is no memory, ERR_OUT_OF_RANGE where there can be no such records. */
  constructor(bytes: number, options: PageMemoryOptions, native: Native | undefined) {
    const { numa, threads, pinsPerThread, hugeRecords } = options
    const frames = Math.ceil(bytes / PAGE_BYTES)
    const near = NearMemory.create(numa, frames, native)
    this.shared = allocated({
      frames,
      // One leaf for each page, and what leads to them: untouched nodes take no memory.
      nodes: frames + Math.ceil(frames / 16) + 256,
      mappings: MAPPINGS_MAX * (near?.mappingsPerFile ?? 1),
      threads,
      pinsPerThread,
    })
    // Before anything is written there.
    if (hugeRecords) for (const part of [this.shared.frames, this.shared.nodes]) native?.adviseHugePages(part)
    const arena = Arena.create(frames, native, near?.plan)
    const clock = (frames: number, ages: Ages) => new ReuseClock(frames, ages)
    const policy = (ages: Ages) => near?.clocks(ages, clock) ?? clock(frames, ages)
    const giveBack = (unused: readonly number[]) => arena.giveBack(unused)
    this.pages = new PageKeeper(this.shared, policy, bytes - arena.slackBytes, giveBack, near?.nodes)
    near?.start(this.pages, arena)
    this.arena = arena
    this.near = near
    this.limit = new MemoryLimit(arena, this.pages, bytes, MEMORY_MIN)
  }
}

/** What a cache of these sizes needs beside its pages. Throws ERR_OUT_OF_RANGE where that is more than there can be. */
function allocated(sizes: CacheSizes): CacheMemory {
  try {
    return allocateMemory(sizes)
  } catch (error) {
    const { frames, threads, pinsPerThread } = sizes
    const what = `${frames} pages, ${threads} threads and ${pinsPerThread} pins of each`
    const why = `memory: there is no room for the records of ${what} (${(error as Error).message})`
    throw Object.assign(outOfRange(why), { cause: error })
  }
}
