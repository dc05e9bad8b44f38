/** The command line of the torture test: a mistake there must not pass as a run that found nothing. */
import { expect, test } from 'vitest'
import { parseOptions, USAGE, WrongUse } from '../../../torture/options.ts'

function mistake(...args: string[]): string {
  try {
    parseOptions(args)
  } catch (error) {
    expect(error).toBeInstanceOf(WrongUse)
    return (error as Error).message
  }
  throw new Error(`${args.join(' ')} was taken`)
}

test('without arguments, as the usage says', () => {
  expect(parseOptions([])).toMatchObject({ seed: 1, ops: 20_000, round: 2000, fs: 'xfs', only: undefined, fault: '' })
})

test('what is given is taken', () => {
  const args =
    '--fs btrfs --seed 0 --ops 7 --users 99 --only 0,3,6 --fault lost-byte --by-daemon --mount-args=--no-homes'
  expect(parseOptions(args.split(' '))).toMatchObject({
    fs: 'btrfs',
    seed: 0,
    ops: 7,
    users: 99,
    only: [0, 3, 6],
    fault: 'lost-byte',
    byDaemon: true,
    readOnly: false,
    mountArgs: '--no-homes',
  })
})

test.each([
  ['--fs foo', '--fs foo: write xfs or btrfs'],
  ['--fs ext4', '--fs ext4: write xfs or btrfs'],
  ['--fs=', '--fs : write xfs or btrfs'],
  ['--fault lost', '--fault lost: write lost-byte'],
  ['--fault=', '--fault : write lost-byte'],
  ['--ops 0', '--ops 0: write a whole number of 1 or more'],
  ['--ops 1e3', '--ops 1e3: write a whole number of 1 or more'],
  ['--round x', '--round x: write a whole number of 1 or more'],
  ['--seed=-1', '--seed -1: write a whole number of 0 or more'],
  ['--processes 0', '--processes 0: write a whole number of 1 or more'],
  ['--users 100', '--users 100: write a whole number from 1 to 99'],
  ['--failures 1.5', '--failures 1.5: write a whole number of 1 or more'],
  ['--only 3,,4', '--only : write a whole number from 0 to 1999'],
  ['--ops 10 --only 10', '--only 10: write a whole number from 0 to 9'],
])('%s: %s', (args, message) => {
  expect(mistake(...args.split(' '))).toBe(message)
})

test.each([
  [['--native', '--strict'], '--native and --strict: there is no mount; leave one of them out'],
  [['--by-daemon', '--native'], '--native and --by-daemon: there is no mount; leave one of them out'],
  [['--native', '--mount-args=--no-homes'], '--native and --mount-args: there is no mount; leave one of them out'],
  [
    ['--strict', '--mount-args=--no-homes --consistency=close-to-open'],
    '--strict and --consistency in --mount-args: both say how consistent the mount is; leave one of them out',
  ],
  [
    ['--below', '--mount-args=--timeout 5'],
    '--below and --timeout in --mount-args: what changes below is to be seen at once; leave one of them out',
  ],
  [
    ['--read-only', '--mount-args=--timeout 5'],
    '--read-only and --timeout in --mount-args: what changes below is to be seen at once; leave one of them out',
  ],
  [['--only', '3', '--failures', '2'], '--only and --failures 2: only one round is played; leave one of them out'],
])('%j contradict each other', (args, message) => {
  expect(mistake(...args)).toBe(message)
})

test.each([
  ['--native', '--below', '--read-only'],
  ['--strict', '--by-daemon', '--below', '--mount-args=--consistently --hang-timeout 9'],
  ['--only', '3', '--failures', '1', '--mount-args=--timeout 5 --consistency strict'],
])('%s %s %s do not', (...args) => {
  expect(() => parseOptions(args)).not.toThrow()
})

test.each(['--fsx xfs', '--native=yes', '--seed', 'xfs'])(
  '%s: says what is wrong, and where the options are',
  (args) => {
    const message = mistake(...args.split(' '))
    expect(message).toContain(args.replace(/[ =].*/, ''))
    expect(message).toMatch(/; --help lists the options$/)
    expect(message).not.toContain('\n')
  },
)

test('says how to give arguments of the mount that begin as options do', () => {
  expect(mistake('--mount-args', '--no-homes')).toContain("use '--mount-args=-XYZ'; --help")
})

test('the usage names each option, and none besides', () => {
  const named = [...USAGE.matchAll(/^ {2}--([\w-]+)/gm)].map(([, name]) => name)
  expect(named).toHaveLength(16)
  for (const name of named) expect(() => parseOptions([`--${name}`, '1'])).not.toThrow(/Unknown/)
})
