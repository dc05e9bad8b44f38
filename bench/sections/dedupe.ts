/** Making copies share storage, beside duperemove on the same content: time, memory, and what is saved. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { findProgram } from '../../test/support/requires.ts'
import { add, type Bench, load, type Section, withXfs } from '../bench.ts'
import { type Side, UNIT } from '../figure.ts'

const COPIES = 4
const PAGE_BYTES = 4096
const MEBIBYTE = 2 ** 20
/** Of the pages of a copy: those that are other than in the first. */
const SETS = [
  { name: 'untouched copies', differentShare: 0 },
  { name: 'copies with 1% of the pages rewritten, in runs of eight', differentShare: 0.01 },
] as const
const LOOK_EVERY_MS = 20

interface Ran {
  readonly seconds: number
  readonly peakBytes: number
  readonly savedBytes: number
}

export const dedupe: Section = {
  name: 'dedupe',
  title: `dedupe of ${COPIES} copies of an image`,
  run: async (bench) => {
    const imageBytes = bench.quick ? 64 * MEBIBYTE : 512 * MEBIBYTE
    const sides: readonly Side[] = findProgram('duperemove') === undefined ? ['samepage'] : ['samepage', 'duperemove']
    for (const set of SETS) await compareOn(bench, sides, imageBytes, set)
  },
}

async function compareOn(
  bench: Bench,
  sides: readonly Side[],
  imageBytes: number,
  { name, differentShare }: (typeof SETS)[number],
): Promise<void> {
  const before = load()
  const ran: Partial<Record<Side, Ran[]>> = {}
  for (let repetition = 0; repetition < bench.repetitions; repetition++)
    for (let i = 0; i < sides.length; i++) {
      const side = sides[(i + repetition) % sides.length]!
      const samples = ran[side] ?? []
      ran[side] = samples
      samples.push(await measure(bench, side, imageBytes, differentShare))
    }
  const figure = (what: string, unit: (typeof UNIT)[keyof typeof UNIT], value: (one: Ran) => number) =>
    add(bench, {
      name: `${name}: ${what}`,
      unit,
      samples: Object.fromEntries(Object.entries(ran).map(([side, samples]) => [side, samples.map(value)])),
      targets: [],
      processors: 'any',
      load: [before, load()],
    })
  figure('to share it all', UNIT.SECONDS, ({ seconds }) => seconds)
  figure('memory of the process, at most', UNIT.BYTES, ({ peakBytes }) => peakBytes)
  figure('saved on the device', UNIT.SAVED_BYTES, ({ savedBytes }) => savedBytes)
}

/** On a fresh file system, cold. */
async function measure(bench: Bench, side: Side, imageBytes: number, differentShare: number): Promise<Ran> {
  let result: Ran | undefined
  await withXfs(bench, COPIES * imageBytes + 2 ** 30, async ({ source }) => {
    writeCopies(source, imageBytes, differentShare)
    fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
    const freeBefore = freeBytes(source)
    const [program, ...args] =
      side === 'samepage'
        ? [...bench.program, 'dedupe', '--apply', source]
        : // The block it compares is what our least run is.
          ['duperemove', '-dr', '-q', '-b', '65536', '--dedupe-options=partial,same', source]
    const { seconds, peakBytes } = await run(program!, args)
    result = { seconds, peakBytes, savedBytes: freeBytes(source) - freeBefore }
  })
  return result!
}

async function run(program: string, args: readonly string[]): Promise<{ seconds: number; peakBytes: number }> {
  const began = performance.now()
  const child = spawn(program, args, { stdio: 'ignore' })
  let peakBytes = 0
  const look = setInterval(() => {
    try {
      const status = fs.readFileSync(`/proc/${child.pid}/status`, 'latin1')
      peakBytes = 1024 * Number(/^VmHWM:\s*(\d+)/m.exec(status)?.[1] ?? peakBytes / 1024)
    } catch {
      // Ended just now.
    }
  }, LOOK_EVERY_MS)
  const [status] = await once(child, 'close')
  clearInterval(look)
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}`)
  return { seconds: (performance.now() - began) / 1000, peakBytes }
}

/** Random, so that nothing is equal by chance; the pages that differ are the same in each repetition. */
function writeCopies(directory: string, bytes: number, differentShare: number): void {
  const piece = Buffer.alloc(MEBIBYTE)
  const runPages = 8
  for (let copy = 0; copy < COPIES; copy++) {
    const fd = fs.openSync(path.join(directory, `copy${copy}`), 'w')
    for (let at = 0; at < bytes; at += MEBIBYTE) {
      fillRandom(piece, at / MEBIBYTE + 1)
      fs.writeSync(fd, piece)
    }
    const runs = copy === 0 ? 0 : Math.round((bytes / PAGE_BYTES) * differentShare) / runPages
    for (let i = 0; i < runs; i++) {
      const own = piece.subarray(0, runPages * PAGE_BYTES)
      fillRandom(own, 1e6 * (copy + 1) + i)
      const page = Math.floor((i * bytes) / PAGE_BYTES / runs) + 37 * copy
      fs.writeSync(fd, own, 0, own.length, page * PAGE_BYTES)
    }
    fs.fsyncSync(fd)
    fs.closeSync(fd)
  }
}

/** xorshift32 */
function fillRandom(buffer: Buffer, seed: number): void {
  const words = new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4)
  let state = Math.imul(seed, 0x9e3779b1) >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
}

function freeBytes(directory: string): number {
  const fd = fs.openSync(directory, 'r')
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  const { bfree, bsize } = fs.statfsSync(directory)
  return bfree * bsize
}
