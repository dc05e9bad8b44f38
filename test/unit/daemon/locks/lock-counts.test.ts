import { expect, it } from 'vitest'
import { LockCounts } from '../../../../src/daemon/locks/lock-counts.ts'

it('no two open files have one number, also when all numbers have been given', () => {
  const buffer = LockCounts.allocate()
  const [counts, elsewhere] = [new LockCounts(buffer), new LockCounts(buffer)]
  const kept = new Set(Array.from({ length: 100 }, () => counts.takeOpen()))
  expect(kept.size).toBe(100)
  // As they come again after as many opens as there are numbers, up to the last and on.
  for (const next of [-1, 0, 50, 2 ** 26 - 1, -(2 ** 31)]) {
    new Int32Array(buffer)[0] = next
    const given = Array.from({ length: 200 }, () => elsewhere.takeOpen())
    for (const number of given) {
      expect(kept.has(number)).toBe(false)
      expect(number).toBeGreaterThan(0)
      expect(number).toBeLessThanOrEqual(2 ** 24)
      counts.giveBackOpen(number)
    }
    expect(new Set(given).size).toBe(given.length)
  }
  // What was given back is given again.
  for (const number of kept) counts.giveBackOpen(number)
  new Int32Array(buffer)[0] = 0
  expect(kept.has(counts.takeOpen())).toBe(true)
})

it('more open files than there are numbers are no reason to fail', { timeout: 60_000 }, () => {
  const counts = new LockCounts(LockCounts.allocate())
  const given = new Uint8Array(2 ** 24 + 1)
  for (let i = 0; i < 2 ** 24; i++) given[counts.takeOpen()] = 1
  expect(given.subarray(1).includes(0)).toBe(false)
  expect(counts.takeOpen()).toBeGreaterThan(0)
  counts.giveBackOpen(12345)
  expect(counts.takeOpen()).toBe(12345)
})
