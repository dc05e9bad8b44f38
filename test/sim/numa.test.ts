/**
 * Ways of near memory compared: what they do is counted in the cache's own code, what that costs is priced by published latencies and bandwidths
 * of real machines (src/sim/numa/machines.ts).
 */
import { describe, expect, test } from 'vitest'
import { MACHINES, type Prices, pricesOfSocket, pricesOfThread } from '../../src/sim/numa/machines.ts'
import { Replay, type Way } from '../../src/sim/numa/replay.ts'
import { type Access, mix, phases, scan } from '../../src/sim/numa/traces.ts'

const PAGES = 512
const ROOMY = 3 * PAGES
const ALL_PRICES = MACHINES.flatMap((machine) => [pricesOfThread(machine), pricesOfSocket(machine)])

function replay(way: Way, frames: number, trace: Iterable<Access>, warmUp: Iterable<Access> = []): Replay {
  const replay = new Replay(way, frames)
  replay.run(warmUp)
  replay.startMeasuring()
  replay.run(trace)
  return replay
}

/** How many times as fast as without near memory. */
function gain(prices: Prices, way: Replay, off: Replay): number {
  return way.throughput(prices) / off.throughput(prices)
}

describe('two sockets scan one file', () => {
  const run = (way: Way, frames: number) => replay(way, frames, scan(PAGES, 200), scan(PAGES, 150))
  const off = run('off', ROOMY)
  const replicated = run('replicate', ROOMY)

  test.each(MACHINES)('$name: at least 1.4 times the throughput, where all cores wait for bandwidth', (machine) => {
    expect(gain(pricesOfSocket(machine), replicated, off)).toBeGreaterThan(1.4)
  })

  test.each(MACHINES)('$name: one thread each waits for latency, of which there is less to gain', (machine) => {
    expect(gain(pricesOfThread(machine), replicated, off)).toBeGreaterThan(1.25)
  })

  test('nearly no read is remote, and each page takes two frames', () => {
    expect(off.counts.remote).toBe(off.counts.reads / 2)
    expect(replicated.counts.remote).toBeLessThan(off.counts.remote / 100)
    expect([off.counts.frames, replicated.counts.frames]).toEqual([PAGES, 2 * PAGES])
  })

  test('where there is no room for two of each, no page is lost to a replica', () => {
    const [off, replicated, byNode] = (['off', 'replicate', 'inode'] as const).map((way) => run(way, PAGES * 1.25))
    expect(replicated!.counts.misses).toBe(0)
    for (const prices of ALL_PRICES) expect(gain(prices, replicated!, off!)).toBeGreaterThan(1)
    // Each node wants all pages for itself.
    expect(byNode!.counts.misses).toBeGreaterThan(byNode!.counts.reads / 4)
  })
})

test('where there is just room for one of each, replicas that cost pages are tried seldom, and not for long', () => {
  const trace = [...scan(2 * PAGES, 1500)].filter(({ node }) => node === 1)
  const warmUp = [...scan(2 * PAGES, 1)]
  const off = replay('off', 2 * PAGES, trace, warmUp)
  const replicated = replay('replicate', 2 * PAGES, trace, warmUp)
  expect(off.counts.misses).toBe(0)
  expect(replicated.counts.misses).toBeLessThan(replicated.counts.reads / 200)
})

describe('a mix in which half are writes loses nothing', () => {
  const [off, replicated] = (['off', 'replicate'] as const).map((way) =>
    replay(way, ROOMY, mix(PAGES, 200 * PAGES, 0.5, 1)),
  )
  test.each(ALL_PRICES)('$name', (prices) => expect(gain(prices, replicated!, off!)).toBeGreaterThan(0.99))
})

describe('on a trace that changes phase it is within a tenth of the best fixed choice', () => {
  const run = (way: Way) => replay(way, ROOMY, phases(PAGES, 2, 1))
  const fixed = (['off', 'eager', 'inode'] as const).map(run)
  const adaptive = run('replicate')
  test.each(ALL_PRICES)('$name', (prices) => {
    const best = Math.max(...fixed.map((way) => way.throughput(prices)))
    expect(adaptive.throughput(prices)).toBeGreaterThan(0.9 * best)
  })
})
