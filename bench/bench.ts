/** What a section of the benchmark works with. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Cleanup } from '../src/demo/cleanup.ts'
import { ScratchXfs, scratchDirectory, scratchParent } from '../src/demo/scratch.ts'
import type { Figure, Side, Target, Unit } from './figure.ts'

export interface Section {
  /** For --only. */
  readonly name: string
  readonly title: string
  run(bench: Bench): Promise<void>
}

/** Processors of the client and of the server, as taskset(1) writes them. */
export interface Pinning {
  readonly client: string
  readonly server: string
}

export const TOGETHER: Pinning = { client: '0', server: '0' }
export const APART: Pinning = { client: '0', server: '1' }
/** Two clients, each on a processor of its own. */
export const TWO_CLIENTS: Pinning = { client: '0 and 1', server: '0,1' }

export const describePinning = ({ client, server }: Pinning): string => `client ${client}, server ${server}`

export interface Bench {
  /** Small files and few repetitions: to see whether it works, not for figures. */
  readonly quick: boolean
  readonly repetitions: number
  /** Files for the section that runs policies over traces; none: those that it brings. */
  readonly traces: readonly string[]
  /** How to start Samepage, before its arguments. */
  readonly program: readonly string[]
  readonly hasBindfs: boolean
  readonly cleanup: Cleanup
  readonly figures: Figure[]
  say(text: string): void
}

export interface Comparison {
  readonly name: string
  readonly unit: Unit
  readonly sides: readonly Side[]
  readonly targets: readonly Target[]
  readonly processors: string
  /** One measurement. */
  readonly measure: (side: Side, repetition: number) => Promise<number>
}

/** Measures all sides in turn, and this several times; who is first changes from time to time. */
export async function compare(bench: Bench, comparison: Comparison): Promise<void> {
  const { name, unit, targets, processors } = comparison
  const sides = comparison.sides.filter((side) => bench.hasBindfs || !side.startsWith('bindfs'))
  const samples: Partial<Record<Side, number[]>> = Object.fromEntries(sides.map((side) => [side, []]))
  const before = load()
  for (let repetition = 0; repetition < bench.repetitions; repetition++) {
    for (let i = 0; i < sides.length; i++) {
      const side = sides[(i + repetition) % sides.length]!
      samples[side]?.push(await comparison.measure(side, repetition))
    }
  }
  add(bench, { name, unit, samples, targets, processors, load: [before, load()] })
}

/** So many times what `measure` finds, for figures whose sides one client measures in turns. */
export async function repeat<Result>(
  bench: Bench,
  measure: () => Promise<Result>,
): Promise<[Result[], Figure['load']]> {
  const before = load()
  const results: Result[] = []
  for (let repetition = 0; repetition < bench.repetitions; repetition++) results.push(await measure())
  return [results, [before, load()]]
}

export function add(bench: Bench, figure: Figure): void {
  bench.figures.push(figure)
  bench.say(figure.name.replaceAll('\n', ' '))
}

/** Load average over one minute. */
export const load = (): number => os.loadavg()[0] ?? Number.NaN

/** An XFS of its own. */
export interface Place {
  /** A directory on it, for the files. */
  readonly source: string
  /** A directory outside of it, for mountpoints. */
  readonly outside: string
}

/** A fresh XFS of `size` bytes for a section; gone when `body` ends. */
export async function withXfs(bench: Bench, size: number, body: (place: Place) => Promise<void>): Promise<void> {
  const { directory, remove } = scratchDirectory(scratchParent(), bench.cleanup)
  try {
    const xfs = new ScratchXfs(directory, size)
    const place = { source: path.join(xfs.path, 'files'), outside: directory }
    fs.mkdirSync(place.source)
    await body(place)
  } finally {
    remove()
  }
}
