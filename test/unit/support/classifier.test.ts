import { describe, expect, test } from 'vitest'
import { guessedShare, type Trial } from '../../support/classifier.ts'
import { Random } from '../../support/random.ts'

const TRIALS = 10_000

/** Times of 100 and some, of which one in twenty is late; where the secret is set they are less by `shorter`, in one kind of three. */
function made(seed: number, shorter: number): Trial[] {
  const random = new Random(seed)
  return Array.from({ length: TRIALS }, () => {
    const secret = random.below(2) === 1
    const time = () => 100 + random.below(50) + (random.below(20) === 0 ? random.below(10_000) : 0)
    return { secret, times: [time(), time() - (secret ? shorter : 0), time()] }
  })
}

describe('guessing a secret from times', () => {
  test('without a leak it is a half', () => {
    for (let seed = 1; seed <= 20; seed++) expect(Math.abs(guessedShare(made(seed, 0)) - 0.5)).toBeLessThan(0.025)
  })

  test('a leak is seen, be it small, and in whichever direction', () => {
    expect(guessedShare(made(1, 60))).toBeGreaterThan(0.94)
    expect(guessedShare(made(1, -60))).toBeGreaterThan(0.94)
    expect(guessedShare(made(1, 5))).toBeGreaterThan(0.53)
  })

  test('times that are all the same tell nothing', () => {
    const random = new Random(1)
    const trials = made(1, 0).map(() => ({ secret: random.below(2) === 1, times: [5, 5] }))
    expect(Math.abs(guessedShare(trials) - 0.5)).toBeLessThan(0.025)
  })
})
