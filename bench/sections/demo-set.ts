/** The files of `samepage demo`, with 2, 16 and 100 clones: memory, bytes from the device, cold speeds. */
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DemoReport, type FileTimes, type Mounted, runDemo, type WayReport } from '../../src/demo/demo.ts'
import { add, type Bench, load, type Section } from '../bench.ts'
import { spreadOf, type Target, UNIT } from '../figure.ts'
import { mapWhole } from '../mapping.ts'

const MEBIBYTE = 2 ** 20
/** What the daemon may take, and the kernel for its own records. */
const MEMORY_SLACK = 150 * MEBIBYTE
const UNIQUE_SLACK = 1.02
const PROCESSORS = 'any'

export const demoSet: Section = {
  name: 'demo-set',
  title: 'An image and its clones, every second one with 1% of its pages rewritten: once cold, then hot',
  async run(bench) {
    if (bench.quick) return measure(bench, 4, 32 * MEBIBYTE)
    await measure(bench, 16, 512 * MEBIBYTE)
    await measure(bench, 2, 256 * MEBIBYTE)
    await measure(bench, 100, 32 * MEBIBYTE)
  },
}

interface Mapped {
  /** Memory in bytes while every diverged clone is mapped and all of its pages were read, and after all were unmapped. */
  readonly mapped: number
  readonly unmapped: number
}

async function measure(bench: Bench, clones: number, size: number): Promise<void> {
  const before = load()
  const reports: DemoReport[] = []
  for (let repetition = 0; repetition < Math.min(3, bench.repetitions); repetition++) {
    const program = bench.program
    const progress = { begin: () => {}, add: () => {}, end: () => {} }
    const options = { size, clones, seed: repetition, keep: false, program, progress, whileMounted: mapDiverged }
    const report = await runDemo(options, bench.cleanup)
    if (report.wrongFiles.length > 0) throw new Error(`wrong bytes in ${report.wrongFiles.join(', ')}`)
    reports.push(report)
  }
  const { uniqueBytes, totalBytes } = reports[0]!.set
  const set = `${clones} clones of ${UNIT.BYTES.format(size)}`
  const figure = (
    name: string,
    unit: (typeof UNIT)['BYTES' | 'SECONDS'],
    value: (way: WayReport) => number,
    targets: Target[],
  ) =>
    add(bench, {
      name: `${set}:\n${name}`,
      unit,
      samples: {
        samepage: reports.map(({ samepage }) => value(samepage)),
        native: reports.map(({ native }) => value(native)),
      },
      targets,
      processors: PROCESSORS,
      load: [before, load()],
    })
  const memory: Target = { max: UNIQUE_SLACK * uniqueBytes + MEMORY_SLACK }
  figure('page cache and daemon', UNIT.BYTES, ({ held }) => held.pageCache + held.daemon, [memory])
  figure('memory no longer free', UNIT.BYTES, ({ held }) => held.notFree, [memory])
  figure('read from the device', UNIT.BYTES, ({ deviceBytes }) => deviceBytes ?? Number.NaN, [
    { max: UNIQUE_SLACK * uniqueBytes },
  ])
  figure('cold: the image', UNIT.SECONDS, coldTime('image', 'median'), [])
  figure('cold: a pristine clone', UNIT.SECONDS, coldTime('pristine', 'median'), [{ against: 'native', min: 10 }])
  figure('cold: the slowest pristine clone', UNIT.SECONDS, coldTime('pristine', 'max'), [
    { against: 'native', min: 10 },
  ])
  figure('cold: a diverged clone', UNIT.SECONDS, coldTime('diverged', 'median'), [{ against: 'native', min: 3 }])
  figure('cold: the slowest diverged clone', UNIT.SECONDS, coldTime('diverged', 'max'), [{ against: 'native', min: 3 }])
  figure('hot: all files', UNIT.SECONDS, ({ hotSeconds }) => hotSeconds, [])
  for (const [name, key] of [
    ['memory while every diverged clone is mapped', 'mapped'],
    ['memory after all were unmapped', 'unmapped'],
  ] as const)
    add(bench, {
      name: `${set}:\n${name}`,
      unit: UNIT.BYTES,
      samples: { samepage: reports.map(({ whileMounted }) => (whileMounted as Mapped)[key]), native: [totalBytes] },
      targets: key === 'unmapped' ? [memory] : [],
      processors: PROCESSORS,
      load: [before, load()],
    })
}

const coldTime =
  (kind: FileTimes['kind'], which: 'median' | 'max') =>
  ({ files }: WayReport): number =>
    spreadOf(files.filter((file) => file.kind === kind).map(({ coldSeconds }) => coldSeconds))[which]

async function mapDiverged({ set, ground, held }: Mounted): Promise<Mapped> {
  const sum = () => held().pageCache + held().daemon
  const unmap = set.files
    .filter(({ kind }) => kind === 'diverged')
    .map(({ name }) => {
      const fd = fs.openSync(path.join(ground.mountpoint, name), 'r')
      const unmapWhole = mapWhole(fd, set.options.size)
      fs.closeSync(fd)
      return unmapWhole
    })
  const mapped = sum()
  for (const each of unmap) each()
  // The kernel tells the daemon that the files were closed, and the daemon the kernel to drop its copies.
  await sleep(3000)
  return { mapped, unmapped: sum() }
}
