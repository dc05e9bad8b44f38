/**
 * The library beside lru-cache with a Buffer of 4 KiB for each page, filled by fs.readSync: pages of which some are asked for more often, and a real
 * trace, with misses, which both read through the kernel's cache.
 *
 * Equal memory: Samepage's process is measured first, all in (Pss of /proc/PID/smaps_rollup); then lru-cache's `max` is changed until its process takes as
 * much.
 */
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { APART, add, type Bench, repeat, type Section, withXfs } from '../bench.ts'
import { type Accesses, type ReplayAnswer, type ReplayTask, runClient } from '../client.ts'
import { sequenceOf } from '../clients/accesses.ts'
import { type Figure, UNIT } from '../figure.ts'
import { warm, writePrivate } from '../files.ts'

const PAGE_BYTES = 4096
/** What lru-cache keeps of a page: its bytes, and the objects that lead to them. */
const LRU_BYTES_PER_PAGE = PAGE_BYTES + 350
const CALIBRATIONS_MAX = 6
/** Memory is equal if it differs by less than this share. */
const EQUAL = 0.01

/** This file runs as build/bench/sections/library-lru.js. */
const TRACES = fileURLToPath(new URL('../../../bench/traces/', import.meta.url))

export const libraryLru: Section = {
  name: 'library-lru',
  title: 'The library beside lru-cache at equal memory, misses included',
  async run(bench) {
    const scale = bench.quick ? 8 : 1
    await section(bench, 'Zipf, 0.9', { kind: 'zipf', pages: 2 ** 17 / scale, count: 2e6 / scale, skew: 0.9 })
    for (const [name, copies] of [
      ['postgres-mix', 16],
      ['sqlite-keys', 32],
    ] as const)
      await section(bench, name, { kind: 'trace', trace: path.join(TRACES, `${name}.lis.br`), copies: copies / scale })
  },
}

function section(bench: Bench, name: string, accesses: Accesses): Promise<void> {
  const { pages } = sequenceOf(accesses)
  const size = pages * PAGE_BYTES
  return withXfs(bench, 2 * size + 2 ** 29, async ({ source }) => {
    const file = path.join(source, await writePrivate(source, size, bench.cleanup))
    for (const share of [0.1, 0.5])
      for (const way of ['view', 'copy'] as const) {
        const what = `${name}, cache of ${share * 100}%, ${way === 'view' ? 'view and get' : 'copies'}`
        await measure(bench, what, { file, accesses, way }, Math.floor(pages * share))
      }
    fs.rmSync(file)
  })
}

type Replay = Omit<ReplayTask, 'side' | 'pages'>

async function measure(bench: Bench, what: string, replay: Replay, pages: number): Promise<void> {
  const run = (side: ReplayTask['side'], room: number) => {
    warm(replay.file)
    return runClient('replay', APART.client, { ...replay, side, pages: room })
  }
  const room = await roomOfEqualMemory(await run('samepage', pages), pages, (max) => run('lru-cache', max))
  const [answers, load] = await repeat(bench, async () => ({
    samepage: await run('samepage', pages),
    'lru-cache': await run('lru-cache', room),
  }))
  const figure = (name: string, unit: Figure['unit'], value: (answer: ReplayAnswer) => number, isTarget: boolean) =>
    add(bench, {
      name: `${what}:\n${name}`,
      unit,
      samples: {
        samepage: answers.map(({ samepage }) => value(samepage)),
        'lru-cache': answers.map((answer) => value(answer['lru-cache'])),
      },
      targets: isTarget ? [{ against: 'lru-cache', min: 1 }] : [],
      processors: `client ${APART.client}`,
      load,
    })
  figure('hits', UNIT.SHARE, ({ misses, count }) => 1 - misses / count, true)
  figure('time of an access', UNIT.NANOSECONDS, ({ seconds, count }) => (seconds / count) * 1e9, true)
  figure('memory of the process', UNIT.BYTES, ({ residentBytes }) => residentBytes, false)
}

/** For how many pages lru-cache has room in the memory of `samepage`. */
async function roomOfEqualMemory(
  samepage: ReplayAnswer,
  pages: number,
  runLru: (max: number) => Promise<ReplayAnswer>,
): Promise<number> {
  let room = pages
  for (let tries = 0; tries < CALIBRATIONS_MAX; tries++) {
    const less = samepage.residentBytes - (await runLru(room)).residentBytes
    if (Math.abs(less) < EQUAL * samepage.residentBytes) break
    room = Math.max(1, Math.round(room + less / LRU_BYTES_PER_PAGE))
  }
  return room
}
