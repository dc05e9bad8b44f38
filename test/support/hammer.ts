/**
 * Threads that work on one piece of shared memory at the same time, for tests of what must hold whoever comes first. They
 * run the compiled classes of dist/ (Node.js 20 does not take TypeScript), so those must be built: the need `build` of requires.ts.
 */
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { ROOT } from './sources.ts'

const DIST = process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist')

export interface Hammer {
  /** What each thread is told, one value per thread; all of them begin together. */
  readonly data: readonly unknown[]
  /** Import lines' sources: names by the module of dist/ that has them, e.g. `{ 'daemon/crew.js': 'Crew' }`. */
  readonly imports: Record<string, string>
  /** The body of a function of (data, random) that a thread runs; `random(n)` gives a number below n, by a seed of the thread. */
  readonly body: string
  readonly seed: number
}

/** Runs the threads to their end; what each of them returned. Rejects when one throws, with the seed in the message. */
export async function hammer<Result>({ data, imports, body, seed }: Hammer): Promise<Result[]> {
  const gate = new SharedArrayBuffer(4)
  const importLines = Object.entries(imports)
    .map(([module, names]) => `const { ${names} } = await import('${pathToFileURL(path.join(DIST, module))}')`)
    .join('\n')
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    async function main() {
      ${importLines}
      const { data, gate, count } = workerData
      let state = workerData.seed >>> 0 || 1
      const random = (n) => {
        state ^= state << 13; state ^= state >>> 17; state ^= state << 5
        return (state >>> 0) % n
      }
      const words = new Int32Array(gate)
      Atomics.add(words, 0, 1)
      while (Atomics.load(words, 0) < count);
      return (async (data, random) => { ${body} })(data, random)
    }
    main().then((result) => parentPort.postMessage(result), (error) => setImmediate(() => { throw error }))`
  return Promise.all(
    data.map(
      (value, i) =>
        new Promise<Result>((resolve, reject) => {
          const workerData = { data: value, gate, count: data.length, seed: seed * 7919 + i * 104_729 + 1 }
          const worker = new Worker(code, { eval: true, workerData })
          worker.once('message', resolve)
          worker.once('error', (error) => {
            error.message += ` (thread ${i}, seed ${seed})`
            reject(error)
          })
        }),
    ),
  )
}

/** A seed of this run, printed by the tests that use it; SAMEPAGE_SEED repeats a run as far as threads can be repeated. */
export function testSeed(): number {
  return Number(process.env.SAMEPAGE_SEED ?? Math.floor(Math.random() * 2 ** 31))
}
