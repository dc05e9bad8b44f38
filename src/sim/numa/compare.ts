/** The table of docs/numa.md: ways of near memory on each trace, counted and priced. */
import { MACHINES, pricesOfSocket, pricesOfThread } from './machines.ts'
import { Replay, type Way } from './replay.ts'
import { type Access, mix, phases, scan } from './traces.ts'

const PAGES = 512
const WAYS: readonly Way[] = ['off', 'replicate', 'eager', 'inode']

interface Case {
  readonly name: string
  /** Of the cache, for each page of the file. */
  readonly framesPerPage: number
  readonly warmUp: () => Iterable<Access>
  readonly trace: () => Iterable<Access>
}

const CASES: readonly Case[] = [
  { name: 'scan', framesPerPage: 3, warmUp: () => scan(PAGES, 150), trace: () => scan(PAGES, 400) },
  { name: 'scan, little room', framesPerPage: 1.25, warmUp: () => scan(PAGES, 150), trace: () => scan(PAGES, 400) },
  { name: 'mix, 0.5% writes', framesPerPage: 3, warmUp: () => [], trace: () => mix(PAGES, 800 * PAGES, 0.005, 1) },
  { name: 'mix, 5% writes', framesPerPage: 3, warmUp: () => [], trace: () => mix(PAGES, 800 * PAGES, 0.05, 1) },
  { name: 'mix, 50% writes', framesPerPage: 3, warmUp: () => [], trace: () => mix(PAGES, 400 * PAGES, 0.5, 1) },
  { name: 'phases', framesPerPage: 3, warmUp: () => [], trace: () => phases(PAGES, 4, 1) },
]

/** Lines of text; gains are throughputs as multiples of that of `off`. */
export function compareWays(): string {
  const prices = MACHINES.flatMap((machine) => [pricesOfThread(machine), pricesOfSocket(machine)])
  const lines = prices.map(({ name }, i) => `gain ${i + 1}: ${name}`)
  const columns = [
    'way',
    'reads',
    'remote',
    'misses',
    'made',
    'lost',
    'frames',
    ...prices.map((_, i) => `gain ${i + 1}`),
  ]
  for (const { name, framesPerPage, warmUp, trace } of CASES) {
    lines.push('', `${name}: ${PAGES} pages, ${PAGES * framesPerPage} frames`, row(columns))
    const replays = WAYS.map((way) => {
      const replay = new Replay(way, PAGES * framesPerPage)
      replay.run(warmUp())
      replay.startMeasuring()
      replay.run(trace())
      return replay
    })
    for (const [i, replay] of replays.entries()) {
      const { reads, remote, misses, made, collapsed, dropped, frames } = replay.counts
      const gains = prices.map((price) => (replay.throughput(price) / replays[0]!.throughput(price)).toFixed(2))
      lines.push(row([WAYS[i]!, reads, remote, misses, made, collapsed + dropped, frames, ...gains]))
    }
  }
  return lines.join('\n')
}

function row(cells: readonly (string | number)[]): string {
  return cells.map((cell, i) => (i === 0 ? String(cell).padEnd(10) : String(cell).padStart(8))).join('')
}
