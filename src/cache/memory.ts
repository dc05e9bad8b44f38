/**
 * The shared memory of one cache but for its frames: what all threads see. Only the keeper changes it, with two exceptions: ages, which
 * readers raise, and pins, of which each thread has its own.
 */
import { FRAME_RECORD_BYTES } from '../layout/frame-record.ts'
import { MAPPING_RECORD_BYTES, MAPPINGS_MAX } from '../layout/mapping-record.ts'
import { NODE_BYTES, NODES_MAX } from '../layout/node.ts'

/** Sizes of a cache that are fixed for its life. */
export interface CacheSizes {
  readonly frames: number
  /** Nodes of indexes. */
  readonly nodes: number
  /** Mappings at once: files and homes. */
  readonly mappings: number
  /** Threads attached at once. */
  readonly threads: number
  /** Pages that one thread can have pinned at once. */
  readonly pinsPerThread: number
}

/** Can be sent to other threads. Untouched parts cost no memory. */
export interface CacheMemory {
  readonly sizes: CacheSizes
  readonly frames: SharedArrayBuffer
  readonly nodes: SharedArrayBuffer
  readonly mappings: SharedArrayBuffer
  readonly pins: SharedArrayBuffer
  /** See {@link COUNTER}. */
  readonly counters: SharedArrayBuffer
}

/** What there can be at most. Entries could name 2^28 frames (entry-word.ts); the reclaim policy tells the ages of 2^26 apart (reclaim/reuse-clock.ts). */
const SIZES_MAX = { frames: 2 ** 26, nodes: NODES_MAX, mappings: MAPPINGS_MAX } as const

/** Throws a RangeError where there can be no such cache, or no array as large. */
export function allocateMemory(sizes: CacheSizes): CacheMemory {
  for (const what of ['frames', 'nodes', 'mappings'] as const)
    if (sizes[what] > SIZES_MAX[what])
      throw new RangeError(`${sizes[what]} ${what}: there can be ${SIZES_MAX[what]} at most`)
  return {
    sizes,
    frames: new SharedArrayBuffer(sizes.frames * FRAME_RECORD_BYTES),
    nodes: new SharedArrayBuffer(sizes.nodes * NODE_BYTES),
    mappings: new SharedArrayBuffer(sizes.mappings * MAPPING_RECORD_BYTES),
    pins: new SharedArrayBuffer(sizes.threads * sizes.pinsPerThread * 4),
    counters: new SharedArrayBuffer(64),
  }
}

/** Words of {@link CacheMemory.counters}: how often nodes were taken out of an index, a word to write to, whether the cache has been closed, how many frames pages may have now, about. */
export const COUNTER = { NODES_FREED: 0, FENCE: 1, CLOSED: 2, FRAMES_LIMIT: 3 } as const
