/** What the user says about the memory of a mount's own. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { NumaMode } from '../../library/numa.ts'

export interface ArenaOptions {
  /** For pages and indexes, in bytes. */
  readonly memoryBytes: number
  /** What to do about NUMA nodes, see the library's PageCacheOptions; absent: nothing. */
  readonly numa?: NumaMode
}

/** The least that a cache can do something with. */
export const MEMORY_MIN = 64 * PAGE_BYTES
