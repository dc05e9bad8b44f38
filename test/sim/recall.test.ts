/** What docs/exclusive.md promises of attached caches holds, whatever happens between any two steps of the mount, of caches, and of those who use either. */
import { randomInt } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type RecallOutcome, simulateRecall } from '../../src/sim/recall/simulate.ts'
import { expectMet } from './met.ts'

async function simulateMany(first: number, count: number): Promise<RecallOutcome[]> {
  const outcomes: RecallOutcome[] = []
  for (let seed = first; seed < first + count; seed++) outcomes.push(await simulateRecall(seed))
  return outcomes
}

describe('the simulation of recall', () => {
  it('holds for 1,500 seeds, and they meet everything that there is to meet', async () => {
    const outcomes = await simulateMany(1, 1500)
    expectMet(outcomes, ['hits', 'misses', 'recalls', 'grants', 'publishes', 'refusedRequests'], 1500)
    expectMet(outcomes, ['noSpace', 'silent', 'unheard', 'cut', 'deaths'], 15)
  })

  it('holds for seeds that nobody has tried yet', async () => {
    // A failure prints its seed.
    await simulateMany(randomInt(2 ** 31), 500)
  })

  it('is the same again for the same seed', async () => {
    for (const seed of [3, 14, 159]) expect(await simulateRecall(seed)).toEqual(await simulateRecall(seed))
  })
})
