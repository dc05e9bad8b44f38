/**
 * Processes with attached caches, and processes that use the mount, read, write and hold the same file for SAMEPAGE_STRESS_SECONDS (20 if not given); some holders are killed. As
 * grants-stress.test.ts, on both sides.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import {
  COUNTED,
  type Found,
  GROUP_BYTES,
  GROUPS,
  runHolder,
  runNative,
  SECONDS,
  stampOf,
  told,
} from '../support/grants-stress.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { pythonProgram } from '../support/observe.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'

const DIST = path.dirname(path.dirname(PROGRAM))
const ATTACHED = pythonProgram('attached_stress.mjs')

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'stress of attached caches', () => {
  const seed = testSeed()

  test(
    `nothing is torn, nothing is lost, nobody waits for ever (SAMEPAGE_SEED=${seed})`,
    async () => {
      await using below = await loopFilesystem('xfs')
      fs.writeFileSync(`${below.path}/f`, Buffer.alloc(GROUPS * GROUP_BYTES))
      const board = path.join(below.path, 'board')
      fs.writeFileSync(board, Buffer.alloc(GROUPS * 8))
      await using mount = await mounted(below.path, { flags: { passthrough: false } })
      const file = `${mount.path}/f`
      let number = seed & 0xffff
      const common = () => [String(++number), String(SECONDS), board]
      const attached = <T>(role: string): Promise<T> =>
        told(process.execPath, [ATTACHED, role, DIST, file, ...common()])

      const until = Date.now() + SECONDS * 1000
      const mortal = async (): Promise<number> => {
        const random = new Random(seed)
        let killed = 0
        for (; Date.now() < until; killed++) {
          // Without the board: who is killed cannot say that he holds it no more.
          const args = [ATTACHED, 'holder', DIST, file, String(random.below(1e6)), '60']
          const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
          const ended = new Promise((resolve) => child.once('exit', resolve))
          setTimeout(() => child.kill('SIGKILL'), 500 + random.below(2500))
          await ended
        }
        return killed
      }
      const found = Promise.all([
        attached<Found>('reader'),
        attached<Found>('reader'),
        attached<Found>('writer'),
        runNative('reader', file, common()),
        runNative('writer', file, common()),
      ])
      const killing = mortal()
      const holders = Promise.all([attached<number[]>('holder'), runHolder(DIST, file, common())])
      for (const { done, wrong } of await found) {
        expect(wrong).toEqual([])
        expect(done).toBeGreaterThan(0)
      }
      const counts = await holders
      const killed = await killing
      for (const published of counts) expect(Math.max(...published)).toBeGreaterThan(0)
      const content = fs.readFileSync(`${below.path}/f`)
      for (let group = 0; group < GROUPS; group++) {
        const stamp = stampOf(content, group)
        // Nothing that was published is lost. Those that were killed have published, too, and nobody counted.
        const published = counts.reduce((sum, each) => sum + each[group]!, 0)
        if (group < COUNTED) expect(stamp).toBeGreaterThanOrEqual(published)
      }
      expect(killed).toBeGreaterThan(0)
      expect((await mount.status()).grants).toMatchObject({ held: [], wanted: 0, waiting: 0, caches: 0 })
    },
    SECONDS * 10_000 + 120_000,
  )
})
