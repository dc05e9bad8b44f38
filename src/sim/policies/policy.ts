/**
 * Reclaim policies as their papers have them, side by side: called at every access, with pages as dense numbers, so that an array by page
 * is all the index that they need. They measure what the cache's own policy (src/cache/reclaim) is worth and serve nobody.
 *
 * npm has LRUs, and an ARC or a SIEVE that nobody looks after, but no library with LIRS, 2Q and S3-FIFO whose results could
 * be compared; libCacheSim, which has them, is C++.
 */
export interface SimulatedCache {
  /** Reads page `page` through the cache; whether it was there. */
  access(page: number): boolean
  /** Throws when the policy's own rules are broken. For tests: may take long. */
  checkInvariants(): void
}

export interface SimulatedPolicy {
  readonly name: string
  /** An empty cache of `capacity` pages, for pages [0, pages). */
  create(capacity: number, pages: number): SimulatedCache
}

/** How many accesses of `trace` miss. */
export function countMisses(policy: SimulatedPolicy, trace: Uint32Array, pages: number, capacity: number): number {
  const cache = policy.create(capacity, pages)
  let misses = 0
  for (const page of trace) if (!cache.access(page)) misses++
  return misses
}

/** Throws unless a policy keeps to its capacity. */
export function expectAtMost(size: number, capacity: number, what: string): void {
  if (size > capacity) throw new Error(`${what}: ${size}, more than ${capacity}`)
}
