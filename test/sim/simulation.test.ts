/** Nobody reads what their file did not hold, whatever happens between any two steps. */
import { randomInt } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { PrivateReason } from '../../src/homes/serving.ts'
import { type Outcome, simulate } from '../../src/sim/simulate.ts'

async function simulateMany(first: number, count: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (let seed = first; seed < first + count; seed++) outcomes.push(await simulate(seed))
  return outcomes
}

function sum(outcomes: readonly Outcome[], of: (outcome: Outcome) => number): number {
  return outcomes.reduce((total, outcome) => total + of(outcome), 0)
}

describe('the simulation', () => {
  it('holds for 4,000 seeds, and they meet everything that there is to meet', async () => {
    const outcomes = await simulateMany(1, 4000)
    for (const kind of ['private', 'pristine', 'diverged', 'remembered'] as const) {
      expect(
        sum(outcomes, ({ opens }) => opens[kind]),
        kind,
      ).toBeGreaterThan(4000)
    }
    expect(sum(outcomes, ({ unitsFromHomes }) => unitsFromHomes)).toBeGreaterThan(40_000)
    for (const key of ['homesMade', 'homesDropped', 'homesSuperseded'] as const) {
      expect(
        sum(outcomes, ({ statistics }) => statistics[key]),
        key,
      ).toBeGreaterThan(20)
    }
    for (const reason of Object.values(PrivateReason)) {
      // A simulated volume tells all extents.
      const least = reason === PrivateReason.NO_EXTENTS ? 0 : 1
      expect(
        sum(outcomes, ({ statistics }) => statistics.private[reason]),
        reason,
      ).toBeGreaterThanOrEqual(least)
    }
    for (const name of ['btrfs', 'xfs', 'neither', 'writers unknown', 'faults', 'units of 2048', 'ctimes 20']) {
      expect(outcomes.filter(({ description }) => description.includes(name)).length, name).toBeGreaterThan(100)
    }
  })

  it('holds for seeds that nobody has tried yet', async () => {
    // A failure prints its seed.
    await simulateMany(randomInt(2 ** 31), 1000)
  })

  it('is the same again for the same seed', async () => {
    for (const seed of [3, 14, 159]) expect(await simulate(seed)).toEqual(await simulate(seed))
  })
})
