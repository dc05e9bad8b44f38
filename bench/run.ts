/**
 * `npm run bench`: measures what the project promises, against native reading and against bindfs in the same run.
 * `npm run bench -- --help` lists the sections.
 *
 * Prints tables, and writes all samples as JSON. A missed target is reported and is no failure: exit status 1 means
 * that something broke.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { withCleanup } from '../src/demo/cleanup.ts'
import type { Bench, Section } from './bench.ts'
import { type Figure, reaches, toJson } from './figure.ts'
import { inspectSpeed } from './inspect.ts'
import { printFigures } from './print.ts'
import { daemonSpeed } from './sections/daemon-speed.ts'
import { dedupe } from './sections/dedupe.ts'
import { demoSet } from './sections/demo-set.ts'
import { firstOpen } from './sections/first-open.ts'
import { libraryGrants, mountGrants } from './sections/grants.ts'
import { guest } from './sections/guest.ts'
import { kernelSpeed } from './sections/kernel-speed.ts'
import { libraryClones } from './sections/library-clones.ts'
import { libraryHits } from './sections/library-hits.ts'
import { libraryLru } from './sections/library-lru.ts'
import { libraryScan } from './sections/library-scan.ts'
import { librarySharers } from './sections/library-sharers.ts'
import { mergeKsm, mergePages } from './sections/merge.ts'
import { mergeMount } from './sections/merge-mount.ts'
import { names, openClose } from './sections/names.ts'
import { onePage } from './sections/one-page.ts'
import { policies } from './sections/policies.ts'
import { postgres } from './sections/postgres.ts'
import { watch } from './sections/watch.ts'
import { writes } from './sections/writes.ts'

const SECTIONS: readonly Section[] = [
  demoSet,
  onePage,
  kernelSpeed,
  daemonSpeed,
  names,
  openClose,
  firstOpen,
  writes,
  watch,
  postgres,
  guest,
  inspectSpeed,
  dedupe,
  libraryHits,
  libraryLru,
  libraryClones,
  libraryScan,
  librarySharers,
  mergePages,
  mergeKsm,
  libraryGrants,
  mountGrants,
  mergeMount,
  policies,
]

/** The root of the repository: this file runs as build/bench/run.js. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const options = new Command('npm run bench --')
  .description(
    'Measures what the project promises, beside native reading and other programs in the same run. As root, on a quiet machine.',
  )
  .option('--only <sections>', 'some sections, separated by commas', SECTIONS.map(({ name }) => name).join(','))
  .option('--quick', 'small files and few repetitions: does it run?', false)
  .option('--repetitions <n>', 'of each figure (default: 7; with --quick 2)')
  .option(
    '--trace <file>',
    'for the section policies: a trace of your own; can be given again',
    (file, all: string[]) => [...all, file],
    [],
  )
  .option('--json <file>', 'where all samples are written', path.join(ROOT, 'build/bench.json'))
  .option('--program <file>', 'the samepage that is measured', path.join(ROOT, 'dist/cli/main.js'))
  .addHelpText('after', `\nSections:\n${SECTIONS.map(({ name, title }) => `  ${name.padEnd(18)}${title}`).join('\n')}`)
  .parse()
  .opts<{
    only: string
    quick: boolean
    repetitions?: string
    trace: string[]
    json: string
    program: string
  }>()

const only = options.only.split(',')
for (const name of only)
  if (!SECTIONS.some((section) => section.name === name))
    fail(`there is no section '${name}'; there are: ${SECTIONS.map((section) => section.name).join(', ')}`)
if (process.geteuid?.() !== 0) fail('needs root: it makes file systems and mounts them')
const repetitions = Number(options.repetitions ?? (options.quick ? 2 : 7))
if (!Number.isInteger(repetitions) || repetitions < 1) fail('--repetitions wants a whole number from 1 on')

const machine = {
  date: new Date().toISOString(),
  processor: os.cpus()[0]?.model ?? 'unknown',
  processors: os.cpus().length,
  memoryBytes: os.totalmem(),
  kernel: os.release(),
  node: process.version,
  bindfs: versionOf('bindfs'),
}

await withCleanup(async (cleanup) => {
  print(`${machine.processor}, ${machine.processors} processors, Linux ${machine.kernel}, Node.js ${machine.node}`)
  print(`bindfs: ${machine.bindfs ?? 'not installed, so nothing is compared with it'}`)
  print(
    `${repetitions} repetitions; of each figure: the median, and from the least to the most; ratios: more is better\n`,
  )
  const results: { section: string; figures: readonly Figure[] }[] = []
  for (const section of SECTIONS.filter(({ name }) => only.includes(name))) {
    const figures: Figure[] = []
    const bench: Bench = {
      quick: options.quick,
      repetitions,
      traces: options.trace,
      program: [process.execPath, options.program],
      hasBindfs: machine.bindfs !== undefined,
      cleanup,
      figures,
      say: (text) => process.stderr.write(`${section.name}: ${text}\n`),
    }
    await section.run(bench)
    print(`${section.title}\n${printFigures(figures)}`)
    results.push({ section: section.name, figures })
  }
  const all = results.flatMap(({ figures }) => figures)
  const verdicts = all.flatMap((figure) => figure.targets.map((target) => reaches(figure, target)))
  const count = (verdict: boolean | undefined) => verdicts.filter((each) => each === verdict).length
  print(`${count(true)} targets reached, ${count(false)} missed, ${count(undefined)} not measured`)
  const json = {
    schema: 1,
    machine,
    repetitions,
    quick: options.quick,
    sections: results.map(({ section, figures }) => ({ section, figures: figures.map(toJson) })),
  }
  fs.writeFileSync(options.json, `${JSON.stringify(json, null, 2)}\n`)
  print(`All samples: ${options.json}`)
})

function versionOf(program: string): string | undefined {
  const { stdout, error } = spawnSync(program, ['--version'], { encoding: 'utf8' })
  return error === undefined ? stdout.trim() : undefined
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n`)
  process.exit(1)
}
