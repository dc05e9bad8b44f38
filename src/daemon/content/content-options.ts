/** What the user says about merging. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { NumaMode } from '../../library/numa.ts'

export interface ContentOptions {
  /** For pages and indexes, in bytes. */
  readonly memoryBytes: number
  /** The share of a processor that looking for equal pages may take; absent: as it needs on load, and a little for the scan, see the library's MergeOptions. */
  readonly cpu?: number
  /** What to do about NUMA nodes, see the library's PageCacheOptions; absent: nothing. */
  readonly numa?: NumaMode
}

/** The least that a cache can do something with. */
export const MEMORY_MIN = 64 * PAGE_BYTES
