import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { arc } from '../../../src/sim/policies/arc.ts'
import { lirs } from '../../../src/sim/policies/lirs.ts'
import { lru } from '../../../src/sim/policies/lru.ts'
import { countOptMisses } from '../../../src/sim/policies/opt.ts'
import { countMisses, type SimulatedPolicy } from '../../../src/sim/policies/policy.ts'
import { reuseClock } from '../../../src/sim/policies/reclaim.ts'
import { s3Fifo } from '../../../src/sim/policies/s3-fifo.ts'
import { twoQueue } from '../../../src/sim/policies/two-queue.ts'
import { drift, loop, zipf, zipfAndScans } from '../../../src/sim/traces/synthetic.ts'

const POLICIES = [lru, arc, twoQueue, s3Fifo, lirs, reuseClock]
const PAGES = 12

const traces = fc.array(fc.nat(PAGES - 1), { minLength: 1, maxLength: 150 })
const capacities = fc.integer({ min: 1, max: PAGES })

/** Which accesses hit, with the policy's rules checked after each. */
function hitsOf(policy: SimulatedPolicy, trace: readonly number[], capacity: number): boolean[] {
  const cache = policy.create(capacity, PAGES)
  return trace.map((page) => {
    const hit = cache.access(page)
    cache.checkInvariants()
    return hit
  })
}

test('LRU is a list of the pages seen last', () => {
  fc.assert(
    fc.property(traces, capacities, (trace, capacity) => {
      let cached: number[] = []
      const expected = trace.map((page) => {
        const hit = cached.includes(page)
        cached = [page, ...cached.filter((each) => each !== page)].slice(0, capacity)
        return hit
      })
      expect(hitsOf(lru, trace, capacity)).toEqual(expected)
    }),
  )
})

test('OPT evicts what is wanted last', () => {
  fc.assert(
    fc.property(traces, capacities, (trace, capacity) => {
      const cached = new Set<number>()
      let misses = 0
      trace.forEach((page, now) => {
        if (cached.has(page)) return
        misses++
        const nextUse = (each: number) => {
          const at = trace.indexOf(each, now)
          return at < 0 ? trace.length : at
        }
        if (cached.size === capacity) cached.delete([...cached].sort((a, b) => nextUse(b) - nextUse(a))[0]!)
        cached.add(page)
      })
      expect(countOptMisses(Uint32Array.from(trace), PAGES, capacity)).toBe(misses)
    }),
  )
})

describe.each(POLICIES)('$name', (policy) => {
  test('keeps its rules, never beats OPT, and misses each page at its first access', () => {
    fc.assert(
      fc.property(traces, capacities, (trace, capacity) => {
        const hits = hitsOf(policy, trace, capacity)
        const misses = hits.filter((hit) => !hit).length
        expect(misses).toBeGreaterThanOrEqual(countOptMisses(Uint32Array.from(trace), PAGES, capacity))
        trace.forEach((page, i) => {
          if (trace.indexOf(page) === i) expect(hits[i]).toBe(false)
        })
      }),
    )
  })

  test('a cache that holds everything misses nothing twice', () => {
    fc.assert(
      fc.property(traces, (trace) => {
        // 2Q keeps a quarter for pages seen once and S3-FIFO a tenth, but only once the cache is full.
        expect(hitsOf(policy, trace, PAGES).filter((hit) => !hit)).toHaveLength(new Set(trace).size)
      }),
    )
  })
})

test('textbook cases: what each remembers after a scan', () => {
  const hitAfterScan = (policy: SimulatedPolicy): boolean => {
    const cache = policy.create(10, 100)
    // Pages 0 and 1 are popular; then ten pages are read once; then page 0 again.
    for (const page of [0, 1, 0, 1, 0, 1, 0, 1]) cache.access(page)
    for (let page = 2; page < 12; page++) cache.access(page)
    return cache.access(0)
  }
  expect(POLICIES.filter(hitAfterScan).map(({ name }) => name)).toEqual(['ARC', 'S3-FIFO', 'LIRS', 'Samepage'])
})

test('a loop that does not fit: LRU, ARC, 2Q and S3-FIFO find nothing, LIRS and Samepage nearly all that can be found', () => {
  const { accesses, pages } = loop(400, 25)
  const ratio = (policy: SimulatedPolicy) => countMisses(policy, accesses, pages, 100) / accesses.length
  for (const policy of [lru, arc, twoQueue, s3Fifo]) expect(ratio(policy)).toBe(1)
  const opt = countOptMisses(accesses, pages, 100) / accesses.length
  for (const policy of [lirs, reuseClock]) expect(ratio(policy)).toBeLessThan(opt + 0.01)
})

describe('Samepage', () => {
  const missesOf = (policy: SimulatedPolicy, { accesses, pages }: ReturnType<typeof zipf>, share: number) =>
    countMisses(policy, accesses, pages, Math.round(pages * share)) / accesses.length

  test('scans cost it less than a point, and LRU several', () => {
    const popular = 2000
    const scanned = zipfAndScans(popular, 60_000)
    const frames = 500
    const popularMisses = (policy: SimulatedPolicy): number => {
      const cache = policy.create(frames, scanned.pages)
      const seen = new Uint8Array(scanned.pages)
      // What is read once cannot be a hit: only pages that come back are counted.
      let misses = 0
      for (const page of scanned.accesses) {
        if (!cache.access(page) && seen[page]) misses++
        seen[page] = 1
      }
      return misses / scanned.accesses.length
    }
    expect(popularMisses(reuseClock)).toBeLessThan(popularMisses(lru) - 0.03)
    expect(popularMisses(reuseClock)).toBeLessThan(popularMisses(arc))
  })

  test.each([0.6, 0.9, 1.2])('popular pages, skew %s: within a point of the best', (skew) => {
    const trace = zipf(skew, 3000, 50_000)
    const best = Math.min(...[lru, arc, twoQueue, s3Fifo, lirs].map((policy) => missesOf(policy, trace, 0.1)))
    expect(missesOf(reuseClock, trace, 0.1)).toBeLessThan(best + 0.01)
  })

  test('a window that moves on and fits: learns that recency is all, to within four points of LRU', () => {
    const trace = drift(6000, 400, 50_000)
    expect(missesOf(reuseClock, trace, 0.1)).toBeLessThan(missesOf(lru, trace, 0.1) + 0.04)
  })
})
