/** Every line of the proof of equality is needed: without it, some seed of the simulation fails. */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MUTANTS, type Mutant } from './mutants.ts'

const root = path.resolve(import.meta.dirname, '../..')
/** Lines of proof.ts that walk or gather and conclude nothing. */
const MECHANICS = [
  'if (known === undefined) {',
  'if (this.#at < 0) this.#at = list.indexAt(offset)',
  'while (this.#at < list.count && list.end(this.#at) <= offset) this.#at++',
]
/** So many seeds a mutant may survive; most do not survive the first ten. */
const SEEDS_MAX = 12_000

let scratch: string
const outcomes = new Map<Mutant, Promise<string>>()

beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'samepage-mutants-'))
  const config = {
    extends: path.join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      rootDir: path.join(root, 'src'),
      outDir: path.join(scratch, 'whole'),
      typeRoots: [path.join(root, 'node_modules/@types')],
    },
    include: [],
    files: [path.join(root, 'src/sim/main.ts')],
  }
  writeFileSync(path.join(scratch, 'tsconfig.json'), JSON.stringify(config))
  const compiler = path.join(root, 'node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [compiler, '-p', scratch], { stdio: 'inherit' })
  writeFileSync(path.join(scratch, 'package.json'), '{ "type": "module" }')
  startAll()
})

afterAll(async () => {
  await Promise.allSettled(outcomes.values())
  rmSync(scratch, { recursive: true, force: true })
})

describe('a mutant that the simulation must notice:', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s', async (_, mutant) => {
    expect(await outcomes.get(mutant)).toMatch(/^seed \d+ .* fails at step/)
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

/** Runs as many mutants at a time as there are processors. */
function startAll(): void {
  const queue = [...MUTANTS]
  const settle = new Map<Mutant, (outcome: string | Promise<string>) => void>()
  for (const mutant of MUTANTS) outcomes.set(mutant, new Promise((resolve) => settle.set(mutant, resolve)))
  const work = async (): Promise<void> => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      settle.get(mutant)!(await run(mutant).catch((error: unknown) => String(error)))
    }
  }
  for (let i = 0; i < availableParallelism(); i++) void work()
}

/** What the simulation prints: of a failure, or of survival. */
async function run(mutant: Mutant): Promise<string> {
  const directory = path.join(scratch, `mutant-${MUTANTS.indexOf(mutant)}`)
  cpSync(path.join(scratch, 'whole'), directory, { recursive: true })
  try {
    const file = path.join(directory, `${mutant.file}.js`)
    writeFileSync(file, replaceOnce(readFileSync(file, 'utf8'), mutant))
    return await new Promise((resolve) => {
      const args = [path.join(directory, 'sim/main.js'), '--count', String(SEEDS_MAX)]
      // A mutant may go round in circles.
      execFile(process.execPath, args, { timeout: 540_000, killSignal: 'SIGKILL' }, (_error, stdout, stderr) =>
        resolve(`${stderr}${stdout}`),
      )
    })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The compiler moves white space and puts semicolons; both are no part of what is looked for. */
function replaceOnce(text: string, { from, to }: Mutant): string {
  const pattern = new RegExp(tokens(from).map(escapeRegExp).join('\\s*'), 'g')
  const found = text.match(pattern)?.length ?? 0
  if (found !== 1) throw new Error(`«${from}» is there ${found} times`)
  // A statement that is removed leaves an empty one.
  return text.replace(pattern, () => to)
}

function tokens(text: string): string[] {
  return text.match(/[\w$]+|[^\s\w$]/g) ?? []
}

function escapeRegExp(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

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
