/**
 * `npm run torture -- --seed 1 --ops 100000`: random operations by several processes and users, on a mount and, natively, on a
 * twin directory; everything that they see must be the same. A failing round is made shorter, and the command that
 * repeats it printed. Needs root.
 */

import fs from 'node:fs'
import { loopFilesystem } from '../test/support/loopfs.ts'
import { MountFailed, mounted } from '../test/support/mounted.ts'
import { generate } from './generate.ts'
import { type Options, parseOptions, USAGE, WrongUse } from './options.ts'
import { type Failure, Player, printFailure, type Stage } from './player.ts'
import { hasLooseTimes, type Op, printOp, type Recipe } from './program.ts'
import { shrink } from './shrink.ts'

const options = optionsOrEnd()

const TRIES_MAX = 400
/** How often a failure may stay away before it counts as one that cannot be repeated. */
const REPEATS = 3

// The mount and the file system go in handlers of their own; without this the rounds would go on without them.
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const)
  process.on(signal, () => process.exit(128 + number))

if (options.help) console.log(USAGE)
else process.exitCode = await main().catch(statusOfRefusal)

function optionsOrEnd(): Options {
  try {
    return parseOptions(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof WrongUse)) throw error
    console.error(error.message)
    process.exit(2)
  }
}

/** What the mount takes as arguments only the mount knows. */
function statusOfRefusal(error: unknown): number {
  if (!(error instanceof MountFailed) || error.status !== 2) throw error
  console.error(`--mount-args ${options.mountArgs}: ${error.stderr.trim()}`)
  return 2
}

async function main(): Promise<number> {
  await using filesystem = await loopFilesystem(options.fs, {
    size: 4 * 2 ** 30,
    mount: ['noatime', 'nodev'],
  })
  for (const directory of ['source', 'twin']) fs.mkdirSync(`${filesystem.path}/${directory}`)
  const source = `${filesystem.path}/source`
  await using mount = options.native ? undefined : await mounted(source, { args: mountArguments(), maySuffer: true })
  const stage: Stage = {
    source,
    mounted: mount?.path ?? source,
    twin: `${filesystem.path}/twin`,
    processes: options.processes + belowProcesses(),
    users: options.users,
    belowProcesses: belowProcesses(),
    readOnly: options.readOnly,
    // Strict or not, what changes below is seen by who opens the file after that.
    closeToOpen: !options.native && !(options.strict && belowProcesses() === 0),
    sharesAlike: !options.byDaemon,
    fault: options.fault,
  }
  using player = new Player(stage)
  return (await rounds(player, stage)) === 0 ? 0 : 1
}

function belowProcesses(): number {
  return options.below ? 2 : 0
}

/** What changes below is to be seen at once, not when the kernel's memory of it has run out. */
function mountArguments(): string[] {
  const seesBelow = options.readOnly || options.below
  return [
    ...(seesBelow ? ['--timeout', '0'] : []),
    ...(options.strict ? ['--consistency', 'strict'] : []),
    ...(options.byDaemon ? ['--no-passthrough'] : []),
    ...options.mountArgs.split(' ').filter(Boolean),
  ]
}

/** Plays the rounds; returns how many failed. */
async function rounds(player: Player, stage: Stage): Promise<number> {
  const start = performance.now()
  let failed = 0
  let progressAt = start
  for (let seed = options.seed; ; seed++) {
    const recipe: Recipe = {
      seed,
      ops: Math.min(options.round, options.ops),
      processes: stage.processes,
      users: stage.users,
      readOnly: stage.readOnly,
      belowProcesses: stage.belowProcesses,
      isNative: options.native,
      byDaemon: options.byDaemon,
    }
    const whole = generate(recipe)
    const { only } = options
    const program = only === undefined ? whole : whole.filter(({ index }) => only.includes(index))
    const failure = await player.play(program, hasLooseTimes(seed))
    if (failure !== undefined) {
      failed++
      await report(player, recipe, program, failure)
    }
    const isLast = only !== undefined || player.performed >= options.ops || failed >= options.failures
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
  if (!options.noShrink) {
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
  const { readOnly, below, native, strict, byDaemon } = options
  const flags = Object.entries({ 'read-only': readOnly, below, native, strict, 'by-daemon': byDaemon })
    .filter(([, isGiven]) => isGiven)
    .map(([name]) => `--${name}`)
  const settings = [
    ['seed', recipe.seed],
    ['ops', recipe.ops],
    ['round', recipe.ops],
    ['fs', options.fs],
    ['processes', options.processes],
    ['users', options.users],
    ...(options.fault === '' ? [] : [['fault', options.fault]]),
    ['only', program.map(({ index }) => index).join(',')],
  ].map(([name, value]) => `--${name} ${value}`)
  if (options.mountArgs !== '') settings.push(`--mount-args="${options.mountArgs}"`)
  return `npm run torture -- ${[...settings, ...flags].join(' ')}`
}
