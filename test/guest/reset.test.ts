/**
 * The power goes while the library writes to persistent memory: what was synced is there afterwards, and of the rest each word is old or new. See docs/PROMISES.md, and rig/machine.ts for what this cannot show.
 */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { testSeed } from '../support/hammer.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'
import { GUEST_REQUIRES, Machine } from './rig/machine.ts'

const RESETS = 2
const BOOT_MS_MAX = 3 * 60_000

interface Line {
  /** The last batch that is on the device for certain. */
  readonly synced?: number
  readonly verified?: object
  readonly error?: string
}

describeWith(GUEST_REQUIRES, 'a guest that is reset in mid-write', () => {
  test(
    'what was synced is there, and each word of the rest is old or new',
    async ({ annotate }) => {
      const seed = testSeed()
      const random = new Random(seed)
      using machine = new Machine(path.join(ROOT, 'build'))
      let previous: string | undefined
      for (let boot = 0; boot <= RESETS; boot++) {
        const isLast = boot === RESETS
        const writer = random.below(2 ** 30)
        const told = random.between(2, 30)
        const pauseMs = random.below(200)
        const story = `seed ${seed}, boot ${boot}`
        let verified: object | undefined
        let synced = -1
        let lines = 0
        let error: string | undefined
        const console = await machine.boot('reset', {
          msMax: BOOT_MS_MAX,
          variables: {
            ...(previous === undefined ? {} : { samepage_verify: previous }),
            ...(isLast ? {} : { samepage_seed: String(writer) }),
          },
          onLine: (text, reset) => {
            const line: Line = JSON.parse(text)
            error ??= line.error
            verified ??= line.verified
            if (line.synced === undefined) return
            synced = line.synced
            if (++lines === told) void sleep(pauseMs).then(reset)
          },
        })
        expect(error, story).toBeUndefined()
        if (!isLast) expect(lines, `${story}: it did not come to be reset:\n${console}`).toBeGreaterThanOrEqual(told)
        if (boot > 0) {
          expect(verified, `${story}: it did not come to look:\n${console}`).toBeDefined()
          annotate(`${story}: ${JSON.stringify(verified)}`)
        }
        previous = `${writer}:${synced}`
      }
    },
    (RESETS + 1) * BOOT_MS_MAX + 60_000,
  )
})
