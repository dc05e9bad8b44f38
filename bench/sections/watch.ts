/** How soon a change below the mount is seen through it (`--watch`), although the kernel may believe what it knows for an hour. */
import path from 'node:path'
import { APART, add, type Bench, describePinning, load, type Place, type Section, withXfs } from '../bench.ts'
import { runClient } from '../client.ts'
import { UNIT } from '../figure.ts'
import { writeExercise, writeMany } from '../files.ts'
import { exercise, openSide } from '../sides.ts'

const FILES = 100
const PATIENCE_MS = 10_000
const PROMISED_SECONDS = 0.1

const LOADS = [
  { name: 'nobody else works', pauseMs: 7, isBusy: false },
  { name: 'another client asks for names without a pause', pauseMs: 7, isBusy: true },
] as const

export const watch: Section = {
  name: 'watch',
  title: 'Changes below a watched mount: from the change to the first answer that shows it',
  run: (bench) =>
    withXfs(bench, 2 ** 30, async (place) => {
      writeExercise(place.source)
      writeMany(place.source, 'changed', FILES, 100)
      writeMany(place.source, 'others', 5000, 100)
      for (const { name, pauseMs, isBusy } of LOADS) {
        const p50: number[] = []
        const p99: number[] = []
        const before = load()
        const changes = bench.quick ? 200 : 1000
        for (let repetition = 0; repetition < bench.repetitions; repetition++) {
          const took = await notice(bench, place, changes, pauseMs, isBusy)
          took.sort((a, b) => a - b)
          p50.push(took[Math.floor(took.length * 0.5)]!)
          p99.push(took[Math.floor(took.length * 0.99)]!)
        }
        const common = { unit: UNIT.SECONDS, processors: describePinning(APART), load: [before, load()] as const }
        const title = `of ${changes} changes, while ${name}`
        add(bench, { ...common, name: `p50 ${title}`, samples: { samepage: p50 }, targets: [] })
        add(bench, {
          ...common,
          name: `p99 ${title}`,
          samples: { samepage: p99 },
          targets: [{ max: PROMISED_SECONDS }],
        })
      }
    }),
}

/** Seconds until each change was seen. */
async function notice(
  bench: Bench,
  place: Place,
  changes: number,
  pauseMs: number,
  isBusy: boolean,
): Promise<number[]> {
  const mount = await openSide(bench, 'samepage', place, APART.server, ['--watch', '--timeout', '3600'])
  try {
    await exercise(mount, APART.client)
    const paths = { below: path.join(place.source, 'changed'), above: path.join(mount.path, 'changed') }
    let isDone = false
    const others = isBusy ? askOn() : Promise.resolve()
    const { tookMs } = await runClient('notice', APART.client, {
      ...paths,
      files: FILES,
      changes,
      patienceMs: PATIENCE_MS,
      pauseMs,
    }).finally(() => {
      isDone = true
    })
    await others
    return tookMs.map((milliseconds) => milliseconds / 1000)

    async function askOn(): Promise<void> {
      const task = { directory: path.join(mount.path, 'others'), files: 5000, passes: 1, pauseSeconds: 0 }
      while (!isDone) await runClient('names', APART.client, { ...task, what: 'open and close' })
    }
  } finally {
    mount.stop()
  }
}
