/**
 * Eight processes read, write, map and hold the same file through a mount, for SAMEPAGE_STRESS_SECONDS (20 if not given); some holders are killed. Each published
 * range has one stamp in all of its words, so a range that is seen torn is noticed; holders count, so is a publish that is lost; and they say on a board what they hold, so is who does
 * not wait for them.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import {
  COUNTED,
  GROUP_BYTES,
  GROUPS,
  runHolder,
  runNative,
  SECONDS,
  STRESS,
  stampOf,
} from '../support/grants-stress.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { PYTHON } from '../support/observe.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'

/** ext4 lets a read see half of a write by itself: there only holders change anything, and what is seen torn is their doing. */
const OTHERS = {
  xfs: ['reader', 'reader', 'writer', 'mapper'],
  ext4: ['reader', 'reader', 'reader', 'mapper'],
} as const

for (const kind of ['xfs', 'ext4'] as const)
  describeWith(['root', 'loop', kind, 'fuse', 'program:python3'], `stress of grants on ${kind}`, () => {
    const seed = testSeed()

    test(
      `nothing is torn, nothing is lost, nobody waits for ever (SAMEPAGE_SEED=${seed})`,
      async () => {
        await using below = await loopFilesystem(kind)
        fs.writeFileSync(`${below.path}/f`, Buffer.alloc(GROUPS * GROUP_BYTES))
        await using mount = await mounted(below.path, { flags: { passthrough: false } })
        const file = `${mount.path}/f`
        const board = path.join(below.path, 'board')
        fs.writeFileSync(board, Buffer.alloc(GROUPS * 8))
        const until = Date.now() + SECONDS * 1000
        /** Of each counted group, how often it was published. */
        const published = new Array<number>(GROUPS).fill(0)
        let killed = 0

        const others = OTHERS[kind].map((role, i) =>
          runNative(role, file, [String((seed & 0xffff) + i), String(SECONDS), board]),
        )
        const commands = [0, 1].map(async (number) => {
          const random = new Random(seed + number)
          const statuses: (number | null)[] = []
          while (Date.now() < until) {
            const group = random.below(GROUPS)
            const range = `${group * GROUP_BYTES}-${(group + 1) * GROUP_BYTES}`
            const readers = random.pick(['wait', 'last-published'])
            const options = ['exclusive', file, '--range', range, '--readers', readers, '--fd', '3']
            const dies = random.below(5) === 0
            // Who is killed could not say that he holds it no more.
            const says = dies ? [] : [board, String(group), readers]
            const child = spawn(process.execPath, [PROGRAM, ...options, '--', PYTHON, '-B', STRESS, 'hold', ...says], {
              stdio: ['ignore', 'ignore', 'inherit'],
            })
            const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
            if (dies) setTimeout(() => child.kill('SIGKILL'), random.below(1500))
            const status = await ended
            if (status === 0) published[group]!++
            else if (dies) killed++
            else statuses.push(status)
            await sleep(random.below(20))
          }
          return statuses
        })
        const holders = [0, 1].map((number) =>
          runHolder(path.dirname(path.dirname(PROGRAM)), file, [
            String((seed & 0xffff) + 9 + number),
            String(SECONDS),
            board,
          ]),
        )

        const found = await Promise.all(others)
        expect(found.flatMap(({ wrong }) => wrong)).toEqual([])
        for (const { done } of found) expect(done).toBeGreaterThan(0)
        // None of those that were not killed failed.
        expect((await Promise.all(commands)).flat()).toEqual([])
        for (const counts of await Promise.all(holders))
          for (const [group, count] of counts.entries()) published[group]! += count
        const content = fs.readFileSync(`${below.path}/f`)
        for (let group = 0; group < COUNTED; group++) {
          const count = stampOf(content, group)
          // Who is killed may have published already, and nobody has heard of it.
          expect(count).toBeGreaterThanOrEqual(published[group]!)
          expect(count).toBeLessThanOrEqual(published[group]! + killed)
        }
        expect(published.reduce((sum, count) => sum + count)).toBeGreaterThan(0)
        expect((await mount.status()).grants).toMatchObject({ held: [], wanted: 0, waiting: 0 })
      },
      SECONDS * 10_000 + 300_000,
    )
  })
