import { createXXHash64 } from 'hash-wasm'
import { expect, test } from 'vitest'
import { PageClasses } from '../../../src/inspect/page-classes.ts'

const hasher = await createXXHash64()

/** The hash of a number, as of a page with that content. */
function hashOf(content: number): Uint8Array {
  hasher.init()
  hasher.update(Uint8Array.from([content & 255, (content >> 8) & 255, (content >> 16) & 255, content >>> 24]))
  return hasher.digest('binary')
}

const ZEROS = 0

/** Contents with `multiplicities[i]` pages each; different for each `world`. */
function add(classes: PageClasses, multiplicities: number[], world: number): void {
  multiplicities.forEach((times, i) => {
    const hash = hashOf(1 + world * 100_000 + i)
    for (let page = 0; page < times; page++) classes.add(hash)
  })
}

test('counts repetitions exactly, and zeros apart', () => {
  const classes = new PageClasses(1, hashOf(ZEROS))
  add(classes, [1, 2, 5, 1, 1000], 0)
  for (let page = 0; page < 77; page++) classes.add(hashOf(ZEROS))
  expect(classes.estimate()).toEqual({ pages: 1086, zeroPages: 77, equal: 1 + 4 + 999, deviation: 0 })
})

test('a hundred thousand contents survive the growth of the table', () => {
  const classes = new PageClasses(1, hashOf(ZEROS))
  const multiplicities = Array.from({ length: 100_000 }, (_, i) => 1 + (i % 3))
  add(classes, multiplicities, 0)
  expect(classes.estimate().equal).toBe(multiplicities.reduce((sum, times) => sum + times - 1, 0))
})

test('a sample is unbiased, and its interval holds the truth in 95 of 100 worlds', () => {
  const multiplicities = Array.from({ length: 4000 }, (_, i) => (i % 4 === 0 ? 1 + (i % 9) : 1))
  const truth = multiplicities.reduce((sum, times) => sum + times - 1, 0)
  const worlds = 300
  let sum = 0
  let held = 0
  for (let world = 0; world < worlds; world++) {
    const classes = new PageClasses(0.1, hashOf(ZEROS))
    add(classes, multiplicities, world)
    const { equal, deviation } = classes.estimate()
    sum += equal
    if (Math.abs(equal - truth) <= 1.96 * deviation) held++
  }
  // The worlds are fixed, so this either holds or does not; the margins are four standard errors.
  expect(Math.abs(sum / worlds / truth - 1)).toBeLessThan(0.04)
  expect(held / worlds).toBeGreaterThan(0.9)
  expect(held / worlds).toBeLessThan(0.995)
})
