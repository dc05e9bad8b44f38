/** Equal pages merged by the library: how many are found, what that takes, and how it compares with the kernel's own merging of the same bytes. */
import path from 'node:path'
import { APART, add, type Bench, repeat, type Section, withXfs } from '../bench.ts'
import { runClient } from '../client.ts'
import { type Figure, UNIT } from '../figure.ts'
import { writeDuplicates } from '../files.ts'
import { type KSM_SPEED, runKsm, withoutKsm } from '../ksm.ts'

/** Of the pages that can be saved: then KSM is taken to be done. */
const DONE = 0.99
/** At its default KSM takes minutes. */
const KSM_REPETITIONS_MAX = 3
const ONE = { processors: `client ${APART.client}` }

export const mergePages: Section = {
  name: 'merge-pages',
  title: 'Merging: half of the pages are equal to seven others',
  run: (bench) =>
    withDuplicates(bench, async (file, most) => {
      const [answers, load] = await repeat(bench, async () => ({
        load: await runClient('merge', APART.client, { file, way: 'load' }),
        scan: await runClient('merge', APART.client, { file, way: 'scan' }),
      }))
      const figure = { ...ONE, load }
      add(bench, {
        ...figure,
        name: 'equal pages merged as they are loaded',
        unit: UNIT.SHARE,
        samples: { samepage: answers.map((answer) => answer.load.sharing / most) },
        targets: [{ min: 1 }],
      })
      add(bench, {
        ...figure,
        name: 'equal pages merged by one pass of the scan',
        unit: UNIT.SHARE,
        samples: { samepage: answers.map((answer) => answer.scan.sharing / most) },
        targets: [{ min: 0.99 }],
      })
      add(bench, {
        ...figure,
        name: 'looking at them as they are loaded: time',
        unit: UNIT.SECONDS,
        samples: { samepage: answers.map((answer) => answer.load.workSeconds) },
        targets: [],
      })
      add(bench, {
        ...figure,
        name: 'memory for each page that was looked at',
        unit: UNIT.BYTES,
        samples: { samepage: answers.map((answer) => answer.scan.bytesPerPage) },
        targets: [{ max: 63 }],
      })
    }),
}

export const mergeKsm: Section = {
  name: 'merge-ksm',
  title: 'Merging beside the kernel: the same bytes, cached by the library, and in anonymous memory',
  run: (bench) =>
    withDuplicates(bench, async (file, most) => {
      if (withoutKsm !== undefined) {
        bench.say(withoutKsm)
        return
      }
      for (const [side, cpu] of [
        ['KSM, default', undefined],
        ['KSM, fastest', 1],
      ] as const)
        await compareWith(bench, side, cpu, file, most)
    }),
}

async function compareWith(
  bench: Bench,
  side: keyof typeof KSM_SPEED,
  cpu: number | undefined,
  file: string,
  most: number,
): Promise<void> {
  const few = { ...bench, repetitions: Math.min(bench.repetitions, KSM_REPETITIONS_MAX) }
  const [answers, load] = await repeat(few, async () => ({
    ksm: await runKsm(side, file, most * DONE, APART.client, bench.cleanup),
    own: await runClient('merge', APART.client, { file, way: 'scan', ...(cpu === undefined ? {} : { cpu }) }),
  }))
  for (const { ksm, own } of answers)
    if (Math.min(ksm.sharing, own.sharing) < most * DONE)
      throw new Error(`of ${most} pages that can be saved KSM saved ${ksm.sharing}, and Samepage ${own.sharing}`)
  const setting = side === 'KSM, default' ? 'at the default settings' : 'as fast as it goes'
  const figure = { ...ONE, load, unit: UNIT.SECONDS, targets: [{ against: side, min: 1 }] } satisfies Partial<Figure>
  add(bench, {
    ...figure,
    name: `equal pages found, ${setting}: time`,
    samples: { samepage: answers.map(({ own }) => own.seconds), [side]: answers.map(({ ksm }) => ksm.seconds) },
  })
  add(bench, {
    ...figure,
    name: `equal pages found, ${setting}: processor`,
    samples: {
      samepage: answers.map(({ own }) => own.processorSeconds),
      [side]: answers.map(({ ksm }) => ksm.processorSeconds),
    },
  })
}

/** A file with duplicates, and how many pages merging can save. */
function withDuplicates(bench: Bench, body: (file: string, most: number) => Promise<void>): Promise<void> {
  const size = (bench.quick ? 64 : 1024) * 2 ** 20
  return withXfs(bench, size + 2 ** 29, ({ source }) => {
    const file = path.join(source, 'duplicates')
    return body(file, writeDuplicates(file, size))
  })
}
