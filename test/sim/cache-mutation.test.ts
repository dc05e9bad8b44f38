/** Every step of publishing, validating, pinning and reclaiming is needed: without it, some seed of the simulation of the page cache fails. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CACHE_MUTANTS } from './cache-mutants.ts'
import { Mutating } from './mutating.ts'

/** So many seeds a mutant may survive; most do not survive the first hundred. */
const SEEDS_MAX = 40_000

let mutating: Mutating

beforeAll(() => {
  mutating = new Mutating(CACHE_MUTANTS, ['--cache', '--count', String(SEEDS_MAX)])
})

afterAll(() => mutating.dispose())

describe('a mutant that the simulation must notice:', () => {
  it.each(CACHE_MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s', async (_, mutant) => {
    expect(await mutating.outcome(mutant)).toMatch(/^seed \d+ .* fails at step/)
  })
})
