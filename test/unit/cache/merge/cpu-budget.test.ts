/** The budget under a clock of its own: whatever is asked of it, and when, it is not exceeded. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CpuBudget } from '../../../../src/cache/merge/cpu-budget.ts'

const BURST_MS = 30_000

test('loads and scan together keep within the share and one burst', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.01, max: 0.99, noNaN: true }),
      fc.array(
        fc.record({
          isLoad: fc.boolean(),
          ms: fc.integer({ min: 1, max: 50 }),
          idle: fc.integer({ min: 0, max: 500 }),
        }),
        {
          maxLength: 300,
        },
      ),
      (share, steps) => {
        let now = 1000
        let restUntil = 0
        let used = 0
        const budget = new CpuBudget(share, () => now)
        for (const { isLoad, ms, idle } of steps) {
          now += idle
          if (isLoad ? !budget.isAffordable : now < restUntil) continue
          now += ms
          used += ms
          budget.spend(ms)
          if (!isLoad) restUntil = now + budget.restAfter(ms)
          // One piece of work may begin with the last of the credit.
          expect(used).toBeLessThanOrEqual(share * (BURST_MS + now - 1000) + 50)
        }
      },
    ),
  )
})

test('a scan that has all the time takes the share', () => {
  for (const share of [0.01, 0.05, 0.5]) {
    let now = 0
    let used = 0
    const budget = new CpuBudget(share, () => now)
    while (now < 100_000) {
      now += 2
      used += 2
      budget.spend(2)
      now += budget.restAfter(2)
    }
    expect(used / now).toBeCloseTo(share, 2)
  }
})

test('the scan rests while loads take what there is, and half of the credit is for loads alone', () => {
  let now = 0
  const budget = new CpuBudget(0.1, () => now)
  budget.spend(3000)
  expect(budget.isAffordable).toBe(false)
  budget.spend(2)
  expect(budget.restAfter(2)).toBeGreaterThan(15_000)
  now += 100
  expect(budget.isAffordable).toBe(true)
  now += 15_000
  expect(budget.restAfter(2)).toBeCloseTo(18)
})

test('all of a processor is no limit', () => {
  const budget = new CpuBudget(1, () => 0)
  budget.spend(1e9)
  expect(budget.isAffordable).toBe(true)
  expect(budget.restAfter(100)).toBe(0)
})
