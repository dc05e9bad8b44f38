/** Every step of the protocol between a mount and attached caches is needed: without it, some seed of the simulation of recall fails. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Mutating } from './mutating.ts'
import { RECALL_MUTANTS } from './recall-mutants.ts'

/** So many seeds a mutant may survive; few survive the first hundred. */
const SEEDS_MAX = 4000

let mutating: Mutating

beforeAll(() => {
  mutating = new Mutating(RECALL_MUTANTS, ['--recall', '--count', String(SEEDS_MAX)])
})

afterAll(() => mutating.dispose())

describe('a mutant that the simulation must notice:', () => {
  it.each(RECALL_MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s', async (_, mutant) => {
    expect(await mutating.outcome(mutant)).toMatch(/^seed \d+ .* fails at step/)
  })
})
