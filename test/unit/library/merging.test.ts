/** When loads are looked at: always, or as far as the limit allows, under a clock of the test's own. */
import { expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { PageKeeper } from '../../../src/cache/page-keeper.ts'
import { ReuseClock } from '../../../src/cache/reclaim/reuse-clock.ts'
import { Arena } from '../../../src/library/arena.ts'
import { type MergeOptions, Merging } from '../../../src/library/merging.ts'

const FRAMES = 64

/** Loads one after the other for a minute, each of which takes 10 ms to be looked at, where that is allowed: for how many milliseconds that was. */
async function lookedAtMs(options: MergeOptions): Promise<number> {
  const memory = allocateMemory({ frames: FRAMES, nodes: 64, mappings: 4, threads: 1, pinsPerThread: 2 })
  const keeper = new PageKeeper(memory, (ages) => new ReuseClock(FRAMES, ages), FRAMES * PAGE_BYTES)
  let now = 0
  const merging = await Merging.begin(keeper, Arena.create(FRAMES, undefined), { ...options, scan: false }, () => now)
  while (now < 60_000) {
    if (merging.beginLoad()) {
      now += 10
      merging.endLoad()
    } else now += 10
  }
  return merging.stats().timeMs
}

test('loads are always looked at where no limit is set', async () => {
  expect(await lookedAtMs({})).toBe(60_000)
  expect(await lookedAtMs({ cpu: 1 })).toBe(60_000)
  expect(await lookedAtMs({ onLoad: false })).toBe(0)
})

test('where one is set they take that share, and what half a minute has left over', async () => {
  for (const cpu of [0.01, 0.05, 0.5]) {
    const ms = await lookedAtMs({ cpu })
    expect(ms).toBeLessThanOrEqual(cpu * (60_000 + 30_000) + 20)
    expect(ms).toBeGreaterThan(cpu * (60_000 + 30_000) - 20)
  }
})
