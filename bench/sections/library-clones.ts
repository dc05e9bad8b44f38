/** Twenty clones read whole by the library: held once, and read from the device once. */
import path from 'node:path'
import { deviceCounter } from '../../src/demo/measure.ts'
import { forgetFile } from '../../src/demo/reading.ts'
import { APART, add, type Bench, repeat, type Section, withXfs } from '../bench.ts'
import { type ClonesAnswer, type ClonesTask, runClient } from '../client.ts'
import { type Target, UNIT } from '../figure.ts'
import { cloneMany, writeClones } from '../files.ts'

const CLONES = 20
const SLACK = 1.02

export const libraryClones: Section = {
  name: 'library-clones',
  title: `The library: ${CLONES} clones read whole, cold`,
  run: (bench) => {
    const size = (bench.quick ? 64 : 512) * 2 ** 20
    return withXfs(bench, 2 * size + 2 ** 30, async ({ source }) => {
      await writeClones(source, size, 0, bench.cleanup)
      cloneMany(source, 'clones', 'image', CLONES, 0)
      const files = Array.from({ length: CLONES }, (_, i) => path.join(source, 'clones', `f${i}`))
      const run = async (side: ClonesTask['side']): Promise<Cold> => {
        for (const file of files) forgetFile(file)
        const read = deviceCounter(source)!
        const before = read()
        const answer = await runClient('clones', APART.client, { side, files })
        return { ...answer, timesRead: (read() - before) / size }
      }
      await measure(bench, run)
    })
  },
}

interface Cold extends ClonesAnswer {
  /** Bytes from the device, in multiples of a file's size. */
  readonly timesRead: number
}

async function measure(bench: Bench, run: (side: ClonesTask['side']) => Promise<Cold>): Promise<void> {
  const [answers, load] = await repeat(bench, async () => ({
    samepage: await run('samepage'),
    native: await run('native'),
  }))
  const figure = (
    name: string,
    unit: (typeof UNIT)['TIMES' | 'SECONDS'],
    value: (answer: Cold) => number,
    targets: Target[],
  ) =>
    add(bench, {
      name,
      unit,
      samples: {
        samepage: answers.map(({ samepage }) => value(samepage)),
        native: answers.map(({ native }) => value(native)),
      },
      targets,
      processors: `client ${APART.client}`,
      load,
    })
  const once = [{ max: SLACK }]
  figure('pages and indexes held, compared with one', UNIT.TIMES, ({ timesHeld }) => timesHeld, once)
  figure('memory of process and kernel, compared with one', UNIT.TIMES, ({ timesMemory }) => timesMemory, once)
  figure('read from the device, compared with the size of one', UNIT.TIMES, ({ timesRead }) => timesRead, once)
  figure('time to read all', UNIT.SECONDS, ({ seconds }) => seconds, [{ against: 'native', min: 1 }])
}
