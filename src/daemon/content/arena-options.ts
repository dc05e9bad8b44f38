/** What the user says about the memory of a mount's own. */
import type { NumaMode } from '../../library/numa.ts'

export interface ArenaOptions {
  /** For pages and indexes, in bytes. */
  readonly memoryBytes: number
  /** What to do about NUMA nodes, see the library's PageCacheOptions; absent: nothing. */
  readonly numa?: NumaMode
}

export { MEMORY_MIN } from '../../library/memory-limit.ts'
