/** Every line of the proof of equality is needed: without it, some seed of the simulation fails. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MUTANTS } from './mutants.ts'
import { Mutating, root } from './mutating.ts'

/** Lines of proof.ts that walk or gather and conclude nothing. */
const MECHANICS = [
  'if (known === undefined) {',
  'if (this.#at < 0) this.#at = list.indexAt(offset)',
  'while (this.#at < list.count && list.end(this.#at) <= offset) this.#at++',
]
/** So many seeds a mutant may survive; most do not survive the first ten. */
const SEEDS_MAX = 12_000

let mutating: Mutating

beforeAll(() => {
  mutating = new Mutating(MUTANTS, ['--count', String(SEEDS_MAX)])
})

afterAll(() => mutating.dispose())

describe('a mutant that the simulation must notice:', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s', async (_, mutant) => {
    expect(await mutating.outcome(mutant)).toMatch(/^seed \d+ .* fails at step/)
  })
})

describe('the list of mutants', () => {
  it('has every line of the proof that decides something', () => {
    const listed = MUTANTS.filter(({ file }) => file === 'homes/proof').map(({ from }) => squeeze(from))
    const missing = decidingLines(readFileSync(path.join(root, 'src/homes/proof.ts'), 'utf8')).filter(
      (line) => !listed.some((from) => squeeze(line).includes(from) || from.includes(squeeze(line))),
    )
    expect(missing).toEqual(MECHANICS)
  })
})

/** Without white space, and without what only the type checker wants. */
function squeeze(text: string): string {
  return text.replaceAll(/!(?=[.,)\];\s]|$)/g, '').replaceAll(/\s/g, '')
}

function decidingLines(source: string): string[] {
  const withoutComments = source.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/\/\/.*$/gm, '')
  return withoutComments
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /\bif \(|&&|\|\||[=!]==|<=|Math\.(min|max|ceil|floor)| \? |\.filter\(|\bwhile\b/.test(line))
    .filter((line) => !line.startsWith('import ') && !line.startsWith('): '))
}
