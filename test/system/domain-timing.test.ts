/**
 * `--domain`: what one tenant reads does not show in the times of another. The clock is asked 10,000 times, and what it says is judged by guessing (classifier.ts), so the test
 * can see what it denies: without domains the guess is nearly always right.
 *
 * The device lies in memory where that can be: one that caches for itself would tell the same secret below the file system, where files share blocks, whoever mounts it how.
 */
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { guessedShare } from '../support/classifier.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { type Scenario, tryTiming, writeTenants } from '../support/timing.ts'

const SEED = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)
const TRIALS = 10_000
/** Enough for the processor's caches to have forgotten what the victim read: with 1,000 a guess is right in half of the cases natively, too. */
const BATCH = 2500
/** Without a leak this is exceeded by chance once in some 400 times, twice in a row once in 100,000. */
const NO_LEAK_MAX = 0.52
const LEAK_MIN = 0.9
/** The daemon's part in a read varies, and hides some of the rest. */
const LEAK_BY_DAEMON_MIN = 0.7
const MEMORY = '/dev/shm'
/** Room for all pages that are read. */
const MERGING = ['--merge', 'content', '--memory', '512MiB']

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', 'passthrough', 'program:python3', kind], `timing on ${kind}`, () => {
    let filesystem: LoopFilesystem
    let directories = 0
    const temporary = process.env.TMPDIR

    beforeAll(async () => {
      const { bavail, bsize } = fs.statfsSync(MEMORY)
      if (bavail * bsize > 2 ** 31) process.env.TMPDIR = MEMORY
      filesystem = await loopFilesystem(kind, { size: 3 * 2 ** 30 })
    })
    afterAll(async () => {
      if (temporary === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = temporary
      await filesystem?.[Symbol.asyncDispose]()
    })

    /** How often the secret is guessed, in a directory of its own. */
    async function guess(seed: number, mountArgs: readonly string[], content: Scenario['content']): Promise<number> {
      const tenants = path.join(filesystem.path, `tenants${directories++}`)
      fs.mkdirSync(tenants)
      writeTenants(tenants, TRIALS, content)
      const trials = await tryTiming(filesystem, tenants, { trials: TRIALS, batch: BATCH, seed, mountArgs, content })
      fs.rmSync(tenants, { recursive: true })
      const share = guessedShare(trials)
      process.stdout.write(`${kind} ${mountArgs.join(' ')}, ${content}: ${(share * 100).toFixed(1)}% guessed\n`)
      return share
    }

    /** A leak is there the next time, too. */
    async function expectNoLeak(args: readonly string[], content: Scenario['content']): Promise<void> {
      const share = await guess(SEED, args, content)
      if (share > NO_LEAK_MAX)
        expect(await guess(SEED + 1, args, content), `${share} before`).toBeLessThanOrEqual(NO_LEAK_MAX)
    }

    for (const [title, options, leakMin] of [
      ['', [], LEAK_MIN],
      [', also with --merge content', MERGING, LEAK_MIN],
      [', also read by the daemon', ['--no-passthrough'], LEAK_BY_DAEMON_MIN],
    ] as const) {
      test(`without domains the times of one tell what the other has read${title} (seed ${SEED})`, async () => {
        const shares: number[] = []
        // A machine that is busy with other things hides it at times.
        while (shares.length < 3 && !shares.some((share) => share >= leakMin))
          shares.push(await guess(SEED + shares.length, [...options, '--domain', 'none'], 'clones'))
        expect(Math.max(...shares), shares.join(', ')).toBeGreaterThanOrEqual(leakMin)
      })

      for (const domain of ['uid', 'dir'])
        test(`with --domain ${domain} they tell nothing${title} (seed ${SEED})`, () =>
          expectNoLeak([...options, '--domain', domain], 'clones'))
    }

    // What is written alike is read from its own place, whoever has read the other: without domains, too, there is next to nothing to see.
    for (const domain of ['uid', 'dir'])
      test(`with --merge content and --domain ${domain} nor do those of files that were written alike (seed ${SEED})`, () =>
        expectNoLeak([...MERGING, '--domain', domain], 'copies'))
  })
