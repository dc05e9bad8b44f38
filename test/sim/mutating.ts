/** Runs a simulation with one piece of the source changed, over and over: each change must make some seed fail. */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'

/** `from` is text of the source (types and white space aside), `to` what stands there instead. */
export interface Mutant {
  /** The attack that the line answers. */
  readonly name: string
  /** In src/, without its ending. */
  readonly file: string
  readonly from: string
  readonly to: string
}

/** Removes the text. */
export function without(name: string, file: string, from: string): Mutant {
  return { name, file, from, to: '' }
}

export function instead(name: string, file: string, from: string, to: string): Mutant {
  return { name, file, from, to }
}

export const root = path.resolve(import.meta.dirname, '../..')

export class Mutating {
  readonly #mutants: readonly Mutant[]
  /** Of src/sim/main.ts. */
  readonly #args: readonly string[]
  readonly #scratch: string
  readonly #outcomes = new Map<Mutant, Promise<string>>()

  /** Compiles the simulation, and begins to run the mutants, as many at a time as there are processors. */
  constructor(mutants: readonly Mutant[], args: readonly string[]) {
    this.#mutants = mutants
    this.#args = args
    this.#scratch = mkdtempSync(path.join(tmpdir(), 'samepage-mutants-'))
    this.#compile()
    this.#startAll()
  }

  /** What the simulation prints: of a failure, or of survival. */
  outcome(mutant: Mutant): Promise<string> {
    return this.#outcomes.get(mutant)!
  }

  async dispose(): Promise<void> {
    await Promise.allSettled(this.#outcomes.values())
    rmSync(this.#scratch, { recursive: true, force: true })
  }

  #compile(): void {
    const config = {
      extends: path.join(root, 'tsconfig.json'),
      compilerOptions: {
        noEmit: false,
        rootDir: path.join(root, 'src'),
        outDir: path.join(this.#scratch, 'whole'),
        typeRoots: [path.join(root, 'node_modules/@types')],
      },
      include: [],
      files: [path.join(root, 'src/sim/main.ts')],
    }
    writeFileSync(path.join(this.#scratch, 'tsconfig.json'), JSON.stringify(config))
    const compiler = path.join(root, 'node_modules/typescript/bin/tsc')
    execFileSync(process.execPath, [compiler, '-p', this.#scratch], { stdio: 'inherit' })
    writeFileSync(path.join(this.#scratch, 'package.json'), '{ "type": "module" }')
    // The simulator's command is read by a package.
    symlinkSync(path.join(root, 'node_modules'), path.join(this.#scratch, 'node_modules'))
  }

  #startAll(): void {
    const queue = [...this.#mutants]
    const settle = new Map<Mutant, (outcome: string | Promise<string>) => void>()
    for (const mutant of this.#mutants)
      this.#outcomes.set(mutant, new Promise((resolve) => settle.set(mutant, resolve)))
    const work = async (): Promise<void> => {
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift())
        settle.get(mutant)!(await this.#run(mutant).catch((error: unknown) => String(error)))
    }
    for (let i = 0; i < availableParallelism(); i++) void work()
  }

  async #run(mutant: Mutant): Promise<string> {
    const directory = path.join(this.#scratch, `mutant-${this.#mutants.indexOf(mutant)}`)
    cpSync(path.join(this.#scratch, 'whole'), directory, { recursive: true })
    try {
      const file = path.join(directory, `${mutant.file}.js`)
      writeFileSync(file, replaceOnce(readFileSync(file, 'utf8'), mutant))
      return await new Promise((resolve) => {
        const args = [path.join(directory, 'sim/main.js'), ...this.#args]
        // A mutant may go round in circles.
        execFile(process.execPath, args, { timeout: 540_000, killSignal: 'SIGKILL' }, (_error, stdout, stderr) =>
          resolve(`${stderr}${stdout}`),
        )
      })
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
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
