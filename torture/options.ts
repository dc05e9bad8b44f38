/** The command line of the torture test: what it may say, and what is told to whom it says something else. */
import { parseArgs } from 'node:util'
import type { LoopKind } from '../test/support/loopfs.ts'

export const USAGE = `npm run torture -- [options]
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

/** File systems that can share storage. */
const FILE_SYSTEMS = ['xfs', 'btrfs'] as const satisfies readonly LoopKind[]
/** What `calls.ts` can do wrong. */
const FAULTS = ['lost-byte'] as const
/** More would have the number of the group that they share (`program.ts`). */
const USERS_MAX = 99

export interface Options {
  readonly help: boolean
  readonly seed: number
  readonly ops: number
  readonly round: number
  readonly fs: (typeof FILE_SYSTEMS)[number]
  readonly processes: number
  readonly users: number
  readonly readOnly: boolean
  readonly below: boolean
  readonly native: boolean
  readonly strict: boolean
  readonly byDaemon: boolean
  readonly mountArgs: string
  /** Undefined: all. */
  readonly only: readonly number[] | undefined
  readonly failures: number
  readonly noShrink: boolean
  /** Empty: none. */
  readonly fault: (typeof FAULTS)[number] | ''
}

/** Whoever called made a mistake; the message says which, and what to write instead. */
export class WrongUse extends Error {}

/** Throws a {@link WrongUse}. */
export function parseOptions(args: readonly string[]): Options {
  const options = optionsOf(args)
  refuseContradictions(options)
  return options
}

/** Of what contradicts itself one half would be left out without a word, and what was found, or not, would say something else than it seems to. */
function refuseContradictions({ native, strict, byDaemon, readOnly, below, mountArgs, only, failures }: Options): void {
  const refuse = (one: string, other: string, why: string): never => {
    throw new WrongUse(`${one} and ${other}: ${why}; leave one of them out`)
  }
  // Who works below a mount works natively, so --read-only and --below go with --native: they try out the test's own ways.
  const ofTheMount = { '--strict': strict, '--by-daemon': byDaemon, '--mount-args': mountArgs !== '' }
  for (const [name, isGiven] of Object.entries(ofTheMount))
    if (native && isGiven) refuse('--native', name, 'there is no mount')
  const saysToMount = (name: string) =>
    mountArgs.split(' ').some((word) => word === name || word.startsWith(`${name}=`))
  if (strict && saysToMount('--consistency'))
    refuse('--strict', '--consistency in --mount-args', 'both say how consistent the mount is')
  if ((readOnly || below) && saysToMount('--timeout'))
    refuse(
      readOnly ? '--read-only' : '--below',
      '--timeout in --mount-args',
      'what changes below is to be seen at once',
    )
  if (only !== undefined && failures > 1) refuse('--only', `--failures ${failures}`, 'only one round is played')
}

function optionsOf(args: readonly string[]): Options {
  const values = read(args)
  const ops = wholeNumber('ops', values.ops)
  const round = wholeNumber('round', values.round)
  return {
    help: values.help,
    seed: wholeNumber('seed', values.seed, 0),
    ops,
    round,
    fs: oneOf('fs', values.fs, FILE_SYSTEMS),
    processes: wholeNumber('processes', values.processes),
    users: wholeNumber('users', values.users, 1, USERS_MAX),
    readOnly: values['read-only'],
    below: values.below,
    native: values.native,
    strict: values.strict,
    byDaemon: values['by-daemon'],
    mountArgs: values['mount-args'],
    // An operation that the round does not have would leave nothing to do, and so nothing to find.
    only: values.only?.split(',').map((text) => wholeNumber('only', text, 0, Math.min(ops, round) - 1)),
    failures: wholeNumber('failures', values.failures),
    noShrink: values['no-shrink'],
    fault: values.fault === undefined ? '' : oneOf('fault', values.fault, FAULTS),
  }
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
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
        fault: { type: 'string' },
      },
    }).values
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // On values its advice is good; that on positional arguments, in further sentences, leads nowhere here.
    const said = code === 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE' ? message : message.split('. ')[0]!
    throw new WrongUse(`${said.replaceAll('\n', ' ').replace(/\.$/, '')}; --help lists the options`)
  }
}

function wholeNumber(name: string, text: string, least = 1, most = Number.MAX_SAFE_INTEGER): number {
  if (/^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text)
  const range = most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`
  throw new WrongUse(`--${name} ${text}: write a whole number ${range}`)
}

function oneOf<Choice extends string>(name: string, text: string, choices: readonly Choice[]): Choice {
  const choice = choices.find((one) => one === text)
  if (choice === undefined) throw new WrongUse(`--${name} ${text}: write ${choices.join(' or ')}`)
  return choice
}
