/** What needs several NUMA nodes or persistent memory, in a guest that has them. It boots once and runs all tests: see rig/machine.ts. */

import path from 'node:path'
import { beforeAll, test } from 'vitest'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'
import './all-tests.ts'
import { guestTests } from './rig/guest-test.ts'
import { GUEST_REQUIRES, type GuestRun, runGuest } from './rig/machine.ts'

const RUN_MS_MAX = 18 * 60_000

describeWith(GUEST_REQUIRES, 'in a guest of four nodes', () => {
  let run: GuestRun
  beforeAll(async () => {
    run = await runGuest(path.join(ROOT, 'build'), RUN_MS_MAX)
  }, RUN_MS_MAX + 60_000)

  for (const { name } of guestTests())
    test(name, ({ annotate }) => {
      const result = run.results.find((it) => it.name === name)
      if (result === undefined)
        throw new Error(`the guest did not come to this test; its console ends:\n${run.console}`)
      for (const note of result.notes) annotate(note)
      if (result.error !== undefined) throw new Error(`in the guest, after ${result.ms} ms: ${result.error}`)
    })
})
