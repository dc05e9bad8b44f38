/** The first open of a large clone in many extents, and whether others wait meanwhile. */
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { APART, add, type Bench, describePinning, load, type Place, type Section, withXfs } from '../bench.ts'
import { runClient } from '../client.ts'
import { UNIT } from '../figure.ts'
import { cloneMany, writeExercise, writeMany } from '../files.ts'
import { exercise, openSide } from '../sides.ts'

const PAGE_BYTES = 4096
const MEBIBYTE = 2 ** 20
const EXTENTS = 10_240
/** Slower than this, somebody else was held up. */
const UNAFFECTED_SECONDS = 0.01
const PROBE_SECONDS = 3

export const firstOpen: Section = {
  name: 'first-open',
  title: `The first open of a clone of 10 GiB in ${EXTENTS} extents`,
  run: (bench) =>
    withXfs(bench, 32 * 2 ** 30, async (place) => {
      writeScattered(path.join(place.source, 'scattered'))
      cloneMany(place.source, 'clones', 'scattered', 2, 0)
      writeExercise(place.source)
      writeMany(place.source, 'others', 10_000, 100)
      const before = load()
      const samples: Sample[] = []
      for (let i = 0; i < bench.repetitions; i++) samples.push(await measure(bench, place))
      const figure = (name: string, value: (sample: Sample) => number, max: number) =>
        add(bench, {
          name,
          unit: UNIT.SECONDS,
          samples: { samepage: samples.map(value) },
          targets: [{ max }],
          processors: describePinning(APART),
          load: [before, load()],
        })
      figure('first open of a clone', ({ first }) => first, 0.1)
      figure('first open of its sibling', ({ sibling }) => sibling, 0.1)
      figure('slowest stat of other files, before', ({ slowestBefore }) => slowestBefore, UNAFFECTED_SECONDS)
      figure('slowest stat of other files, meanwhile', ({ slowestMeanwhile }) => slowestMeanwhile, UNAFFECTED_SECONDS)
    }),
}

/** Seconds. */
interface Sample {
  readonly first: number
  readonly sibling: number
  readonly slowestBefore: number
  readonly slowestMeanwhile: number
}

async function measure(bench: Bench, place: Place): Promise<Sample> {
  const mount = await openSide(bench, 'samepage', place, APART.server)
  try {
    await exercise(mount, APART.client)
    const task = { directory: path.join(mount.path, 'others'), files: 10_000, seconds: PROBE_SECONDS }
    const probe = runClient('probe', APART.client, task)
    await sleep(1500)
    const beganMs = Date.now()
    const first = await timeToOpen(path.join(mount.path, 'clones/f0'))
    const sibling = await timeToOpen(path.join(mount.path, 'clones/f1'))
    const endedMs = Date.now()
    const { atMs, tookMs } = await probe
    const slowest = (fromMs: number, toMs: number) =>
      Math.max(...tookMs.filter((took, i) => atMs[i]! >= fromMs && atMs[i]! - took <= toMs)) / 1000
    return {
      first,
      sibling,
      slowestBefore: slowest(beganMs - 800, beganMs - 50),
      slowestMeanwhile: slowest(beganMs, endedMs),
    }
  } finally {
    mount.stop()
  }
}

/** On a thread of the pool, so that this one goes on. Seconds. */
async function timeToOpen(file: string): Promise<number> {
  const began = performance.now()
  const handle = await fs.promises.open(file)
  const seconds = (performance.now() - began) / 1000
  await handle.close()
  return seconds
}

/** A page in every MiB, the rest holes: an extent each. */
function writeScattered(file: string): void {
  const fd = fs.openSync(file, 'w')
  const page = Buffer.alloc(PAGE_BYTES, 'scattered')
  for (let i = 0; i < EXTENTS; i++) fs.writeSync(fd, page, 0, PAGE_BYTES, i * MEBIBYTE)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}
