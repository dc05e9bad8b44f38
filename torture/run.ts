/**
 * `npm run torture -- --seed 1 --ops 100000`: random operations by several processes and users, on a mount and, natively, on a
 * twin directory; everything that they see must be the same. A failing round is made shorter, and the command that
 * repeats it printed. Needs root.
 */

import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { type LoopKind, loopFilesystem } from '../test/support/loopfs.ts'
import { mounted } from '../test/support/mounted.ts'
import { generate } from './generate.ts'
import { type Failure, Player, printFailure, type Stage } from './player.ts'
import { hasLooseTimes, type Op, printOp, type Recipe } from './program.ts'
import { shrink } from './shrink.ts'

const USAGE = `npm run torture -- [options]
  --seed S          the first round's seed; round n has seed S + n (default 1)
  --ops N           operations in all (default 20000)
  --round N         operations a round, each in fresh directories (default 2000)
  --fs xfs|btrfs    the file system below (default xfs)
  --processes P     (default 3)
  --users U         the first is root (default 3)
  --read-only       everything that changes something happens below the mount, reading goes through it
  --below           two more processes work below the mount
  --native          no mount: natively against natively must find nothing
  --by-daemon       nothing is passed through: the daemon reads and writes all
  --strict          the mount is mounted with strict consistency: no reader may keep what it opened
  --mount-args="…"  further arguments of samepage mount
  --only 3,17,20    of the one round, only these operations
  --failures N      go on until so many rounds have failed (default 1)
  --no-shrink       print a failing round's last operations as they are
  --fault lost-byte let the tree under test write wrong bytes: a test of the tester
The program under test is dist/, or the build that SAMEPAGE_DIST names.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    ops: { type: 'string', default: '20000' },
    round: { type: 'string', default: '2000' },
    fs: { type: 'string', default: 'xfs' },
    processes: { type: 'string', default: '3' },
    users: { type: 'string', default: '3' },
    'read-only': { type: 'boolean', default: false },
    below: { type: 'boolean', default: false },
    native: { type: 'boolean', default: false },
    strict: { type: 'boolean', default: false },
    'by-daemon': { type: 'boolean', default: false },
    'mount-args': { type: 'string', default: '' },
    only: { type: 'string' },
    failures: { type: 'string', default: '1' },
    'no-shrink': { type: 'boolean', default: false },
    fault: { type: 'string', default: '' },
  },
})

const numbers = {
  seed: wholeNumber('seed', values.seed, 0),
  ops: wholeNumber('ops', values.ops),
  round: wholeNumber('round', values.round),
  processes: wholeNumber('processes', values.processes),
  users: wholeNumber('users', values.users),
  failures: wholeNumber('failures', values.failures),
  only: values.only?.split(',').map((text) => wholeNumber('only', text, 0)),
}

const TRIES_MAX = 400
/** How often a failure may stay away before it counts as one that cannot be repeated. */
const REPEATS = 3

// The mount and the file system go in handlers of their own; without this the rounds would go on without them.
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const)
  process.on(signal, () => process.exit(128 + number))

if (values.help) console.log(USAGE)
else process.exitCode = await main()

function wholeNumber(name: string, text: string, least = 1): number {
  if (/^\d{1,15}$/.test(text) && Number(text) >= least) return Number(text)
  console.error(`--${name} ${text}: write a whole number of ${least} or more`)
  process.exit(2)
}

async function main(): Promise<number> {
  await using filesystem = await loopFilesystem(values.fs as LoopKind, {
    size: 4 * 2 ** 30,
    mount: ['noatime', 'nodev'],
  })
  for (const directory of ['source', 'twin']) fs.mkdirSync(`${filesystem.path}/${directory}`)
  const source = `${filesystem.path}/source`
  await using mount = values.native ? undefined : await mounted(source, { args: mountArguments(), maySuffer: true })
  const stage: Stage = {
    source,
    mounted: mount?.path ?? source,
    twin: `${filesystem.path}/twin`,
    processes: numbers.processes + belowProcesses(),
    users: numbers.users,
    belowProcesses: belowProcesses(),
    readOnly: values['read-only'],
    // Strict or not, what changes below is seen by who opens the file after that.
    closeToOpen: !values.native && !(values.strict && belowProcesses() === 0),
    sharesAlike: !values['by-daemon'],
    fault: values.fault,
  }
  using player = new Player(stage)
  return (await rounds(player, stage)) === 0 ? 0 : 1
}

function belowProcesses(): number {
  return values.below ? 2 : 0
}

/** What changes below is to be seen at once, not when the kernel's memory of it has run out. */
function mountArguments(): string[] {
  const seesBelow = values['read-only'] || values.below
  return [
    ...(seesBelow ? ['--timeout', '0'] : []),
    ...(values.strict ? ['--consistency', 'strict'] : []),
    ...(values['by-daemon'] ? ['--no-passthrough'] : []),
    ...values['mount-args'].split(' ').filter(Boolean),
  ]
}

/** Plays the rounds; returns how many failed. */
async function rounds(player: Player, stage: Stage): Promise<number> {
  const start = performance.now()
  let failed = 0
  let progressAt = start
  for (let seed = numbers.seed; ; seed++) {
    const recipe: Recipe = {
      seed,
      ops: Math.min(numbers.round, numbers.ops),
      processes: stage.processes,
      users: stage.users,
      readOnly: stage.readOnly,
      belowProcesses: stage.belowProcesses,
      isNative: values.native,
      byDaemon: values['by-daemon'],
    }
    const whole = generate(recipe)
    const { only } = numbers
    const program = only === undefined ? whole : whole.filter(({ index }) => only.includes(index))
    const failure = await player.play(program, hasLooseTimes(seed))
    if (failure !== undefined) {
      failed++
      await report(player, recipe, program, failure)
    }
    const isLast = only !== undefined || player.performed >= numbers.ops || failed >= numbers.failures
    if (isLast || performance.now() - progressAt > 10_000) {
      progressAt = performance.now()
      const rate = Math.round(player.performed / ((progressAt - start) / 1000))
      console.log(`seed ${seed}: ${player.performed} operations, ${rate} a second, ${failed} rounds failed`)
    }
    if (isLast) return failed
  }
}

async function report(player: Player, recipe: Recipe, program: readonly Op[], failure: Failure): Promise<void> {
  console.log(`\nseed ${recipe.seed}: ${printFailure(failure)}`)
  let shortest: readonly Op[] = upTo(program, failure)
  if (!values['no-shrink']) {
    let last = failure
    const fails = async (part: readonly Op[]) => {
      const again = await player.play(part, hasLooseTimes(recipe.seed))
      if (again === undefined || !isAlike(again, failure)) return false
      last = again
      return true
    }
    if (await repeats(() => fails(shortest))) {
      shortest = await shrink(shortest, fails, TRIES_MAX)
      console.log(`\nshortest: ${shortest.length} operations, after which ${printFailure(last)}`)
    } else console.log(`\nnot seen again in ${REPEATS} more takes`)
  }
  for (const op of shortest.slice(-60)) console.log(`  ${printOp(op)}`)
  console.log(`replay: ${replayLine(recipe, shortest)}\n`)
}

/** Not just any other failure: one of the same call, and of the same errnos where there are some. */
function isAlike(one: Failure, other: Failure): boolean {
  const errno = (text: string) => /^E[A-Z0-9]+$/.exec(text)?.[0]
  return one.what === other.what && errno(one.got) === errno(other.got) && errno(one.wanted) === errno(other.wanted)
}

async function repeats(fails: () => Promise<boolean>): Promise<boolean> {
  for (let i = 0; i < REPEATS; i++) if (await fails()) return true
  return false
}

/** What comes after the failure cannot be its cause. */
function upTo(program: readonly Op[], { op }: Failure): readonly Op[] {
  return op === undefined ? program : program.slice(0, program.indexOf(op) + 1)
}

function replayLine(recipe: Recipe, program: readonly Op[]): string {
  const flags = (['read-only', 'below', 'native', 'strict', 'by-daemon'] as const)
    .filter((name) => values[name])
    .map((name) => `--${name}`)
  const options = [
    ['seed', recipe.seed],
    ['ops', recipe.ops],
    ['round', recipe.ops],
    ['fs', values.fs],
    ['processes', values.processes],
    ['users', values.users],
    ...(values.fault === '' ? [] : [['fault', values.fault]]),
    ['only', program.map(({ index }) => index).join(',')],
  ].map(([name, value]) => `--${name} ${value}`)
  if (values['mount-args'] !== '') options.push(`--mount-args="${values['mount-args']}"`)
  return `npm run torture -- ${[...options, ...flags].join(' ')}`
}
