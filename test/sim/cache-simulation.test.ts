/** No reader of the page cache gets bytes that are not the page's, whatever happens between any two accesses to memory. */
import { randomInt } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type CacheOutcome, simulateCache } from '../../src/sim/cache/simulate.ts'
import { expectMet } from './met.ts'

function simulateMany(first: number, count: number): CacheOutcome[] {
  return Array.from({ length: count }, (_, i) => simulateCache(first + i))
}

describe('the simulation of the page cache', () => {
  it('holds for 3,000 seeds, and they meet everything that there is to meet', () => {
    const outcomes = simulateMany(1, 3000)
    expectMet(outcomes, ['hits', 'misses', 'views', 'evicted', 'unpublished', 'zeros', 'shared', 'deaths'], 1000)
    expectMet(
      outcomes,
      [
        'merged',
        'replicas',
        'collapsed',
        'nearLooks',
        'promotions',
        'demotions',
        'directLooks',
        'grants',
        'refusals',
        'publishes',
        'past',
      ],
      300,
    )
    for (const order of ['x86', 'arm'])
      expect(outcomes.filter(({ description }) => description.includes(order)).length, order).toBeGreaterThan(1000)
  })

  it('holds for seeds that nobody has tried yet', () => {
    // A failure prints its seed.
    simulateMany(randomInt(2 ** 31), 1000)
  })

  it('is the same again for the same seed', () => {
    for (const seed of [3, 14, 159]) expect(simulateCache(seed)).toEqual(simulateCache(seed))
  })
})
