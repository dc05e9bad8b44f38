/** Hits of the library: look-ups beside Map.get, copies beside fs.readSync, views. Each client measures its sides in turns. */
import path from 'node:path'
import { APART, add, type Bench, repeat, type Section, TWO_CLIENTS, withXfs } from '../bench.ts'
import { runClient, samplesOf } from '../client.ts'
import { UNIT } from '../figure.ts'
import { writePrivate } from '../files.ts'

const MEBIBYTE = 2 ** 20
const ONE_GIBIBYTE = 2 ** 18
const ONE = `client ${APART.client}`

export const libraryHits: Section = {
  name: 'library-hits',
  title: 'The library: hits, in a process of their own',
  async run(bench) {
    await lookUps(bench)
    await withXfs(bench, 2 ** 30, async ({ source }) => {
      const size = (bench.quick ? 64 : 256) * MEBIBYTE
      const file = path.join(source, await writePrivate(source, size, bench.cleanup))
      const task = { file, rounds: bench.quick ? 4 : 20 }
      const [answers, load] = await repeat(bench, () => runClient('hits', APART.client, task))
      const figure = { processors: ONE, load }
      add(bench, {
        ...figure,
        name: 'readSync of 4 KiB, random',
        unit: UNIT.PER_SECOND,
        samples: samplesOf(answers.map(({ copied }) => copied)),
        targets: [{ against: 'fs.readSync', min: 1.2 }],
      })
      add(bench, {
        ...figure,
        name: 'garbage of such a hit',
        unit: UNIT.BYTES,
        samples: { samepage: answers.map(({ garbagePerHit }) => garbagePerHit) },
        targets: [{ max: 0 }],
      })
      add(bench, {
        ...figure,
        name: 'viewSync of 4 KiB, random',
        unit: UNIT.PER_SECOND,
        samples: samplesOf(answers.map(({ viewed }) => viewed)),
        targets: [{ min: 2_000_000 }],
      })
    })
  },
}

async function lookUps(bench: Bench): Promise<void> {
  const pages = bench.quick ? ONE_GIBIBYTE / 16 : ONE_GIBIBYTE
  const task = { pages, rounds: bench.quick ? 4 : 20 }
  const name = `pages looked up, random over ${UNIT.BYTES.format(pages * 4096)}`
  const [alone, loadAlone] = await repeat(bench, () => runClient('look-up', APART.client, task))
  add(bench, {
    name,
    unit: UNIT.PER_SECOND,
    samples: samplesOf(alone),
    targets: [{ against: 'Map.get', min: 1 }],
    processors: ONE,
    load: loadAlone,
  })
  const [together, loadTogether] = await repeat(bench, () => runClient('look-up-together', '0,1', task))
  add(bench, {
    name: `${name},\nby two threads`,
    unit: UNIT.PER_SECOND,
    samples: samplesOf(together),
    targets: [{ against: 'one thread', min: 1.7 }],
    processors: `client ${TWO_CLIENTS.client}`,
    load: loadTogether,
  })
}
