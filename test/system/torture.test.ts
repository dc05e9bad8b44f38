/** The torture test on itself: nothing to find between native and native, and a tree that loses a byte is found out. */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'

function torture(...args: string[]): { status: number | null; output: string } {
  const program = path.join(ROOT, 'build/torture/run.js')
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    encoding: 'utf8',
    env: { ...process.env, SAMEPAGE_DIST: process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist') },
  })
  return { status, output: stdout + stderr }
}

describeWith(['root', 'loop', 'xfs'], 'the torture test', () => {
  beforeAll(() => {
    const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.torture.json'], {
      cwd: ROOT,
      encoding: 'utf8',
    })
    expect(status, stdout).toBe(0)
  })

  test('finds nothing between native and native', () => {
    const { status, output } = torture('--native', '--ops', '4000', '--seed', '11')
    expect(status, output).toBe(0)
  })

  test.each([
    ['--ops', '12x', /^--ops 12x: write a whole number of 1 or more\n$/],
    ['--fs', 'foo', /^--fs foo: write xfs or btrfs\n$/],
    ['--only', '7x', /^--only 7x: write a whole number from 0 to 1999\n$/],
    ['--fsx', 'foo', /^Unknown option .*\n$/],
  ])('refuses %s %s with a line and status 2', (name, value, message) => {
    const { status, output } = torture('--native', name, value)
    expect(status, output).toBe(2)
    expect(output).toMatch(message)
  })

  test('finds a wrong byte, leaves few operations, and they fail again', () => {
    const { status, output } = torture('--native', '--ops', '2000', '--seed', '11', '--fault', 'lost-byte')
    expect(status, output).toBe(1)
    const replay = /^replay: npm run torture -- (.*)$/m.exec(output)?.[1]?.split(' ')
    expect(replay, output).toBeDefined()
    const only = replay![replay!.indexOf('--only') + 1]!.split(',')
    expect(only.length, output).toBeLessThanOrEqual(6)
    expect(torture(...replay!).status).toBe(1)
  })
})

describeWith(['root', 'loop', 'fuse', 'xfs', 'btrfs'], 'the mount under torture', () => {
  test('says what the mount says of arguments that it does not take', () => {
    const { status, output } = torture('--ops', '10', '--mount-args=--min-share lots')
    expect(status, output).toBe(2)
    expect(output).toMatch(/^--mount-args --min-share lots: .*lots/)
  })

  test.each([
    ['reads what is changed below it', '--read-only'],
    ['is written by some, while others write below it', '--below'],
    ['is written, and strict', '--strict'],
    ['is written, and nothing is passed through', '--by-daemon'],
  ])('%s', (_, mode) => {
    for (const kind of ['xfs', 'btrfs']) {
      const { status, output } = torture(mode, '--fs', kind, '--ops', '4000', '--seed', '21')
      expect(status, output).toBe(0)
    }
  })
})
