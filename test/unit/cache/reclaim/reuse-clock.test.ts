import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AGE_MAX, NEVER, STAMP_BITS } from '../../../../src/cache/reclaim/policy.ts'
import { ReuseClock } from '../../../../src/cache/reclaim/reuse-clock.ts'

function clockOf(capacity: number) {
  const ages = new Uint8Array(capacity)
  const clock = new ReuseClock(capacity, {
    get: (frame) => ages[frame]!,
    set: (frame, age) => {
      ages[frame] = age
    },
  })
  return { ages, clock }
}

const ANY = (): boolean => true
const NONE = (): boolean => false

/** All frames, in the order in which they go when nobody reads any more. */
function evictAll(clock: ReuseClock): number[] {
  const order: number[] = []
  for (let frame = clock.victim(ANY); frame >= 0; frame = clock.victim(ANY)) order.push(frame)
  return order
}

const byNumber = (a: number, b: number): number => a - b

describe('whatever happens', () => {
  const CAPACITY = 12
  const frame = fc.nat(CAPACITY - 1)
  const step = fc.oneof(
    fc.record({ kind: fc.constant('insert' as const), frame, refault: fc.boolean() }),
    fc.record({ kind: fc.constant('insertCold' as const), frame }),
    fc.record({ kind: fc.constant('hit' as const), frame }),
    fc.record({ kind: fc.constant('remove' as const), frame }),
    fc.record({ kind: fc.constant('pin' as const), frame }),
    fc.record({ kind: fc.constant('resize' as const), frames: fc.integer({ min: 1, max: CAPACITY }) }),
    fc.record({ kind: fc.constant('victim' as const) }),
    fc.record({ kind: fc.constant('victim' as const) }),
  )

  test('each frame that was inserted goes exactly once, pinned ones never, and the rules hold after every step', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { ages, clock } = clockOf(CAPACITY)
        const held = new Set<number>()
        const pinned = new Set<number>()
        const stamps: number[] = []
        for (const it of steps) {
          if (it.kind === 'resize') clock.resize(it.frames)
          else if (it.kind === 'victim') {
            const victim = clock.victim((each) => !pinned.has(each))
            if (victim < 0) expect([...held].filter((each) => !pinned.has(each))).toEqual([])
            else {
              expect(pinned.has(victim)).toBe(false)
              expect(held.delete(victim)).toBe(true)
              const stamp = clock.stampOf(victim)
              expect(stamp).toBeGreaterThanOrEqual(0)
              expect(stamp).toBeLessThan(2 ** STAMP_BITS)
              stamps.push(stamp)
            }
          } else if (it.kind === 'hit') ages[it.frame] = Math.min(AGE_MAX, ages[it.frame]! + 1)
          else if (it.kind === 'pin') {
            if (!pinned.delete(it.frame)) pinned.add(it.frame)
          } else if (it.kind === 'remove') {
            if (held.delete(it.frame)) clock.remove(it.frame)
          } else if (!held.has(it.frame)) {
            if (it.kind === 'insertCold') clock.insertCold(it.frame)
            else clock.insert(it.frame, it.refault ? (stamps.pop() ?? NEVER) : NEVER)
            held.add(it.frame)
            expect(ages[it.frame]).toBe(0)
          }
          clock.checkInvariants()
          expect(clock.size).toBe(held.size)
        }
        expect(evictAll(clock).sort(byNumber)).toEqual([...held].sort(byNumber))
      }),
      { numRuns: 500 },
    )
  })

  test('a victim is found though readers hit every frame whenever its age is looked at', () => {
    const clock = new ReuseClock(50, { get: () => AGE_MAX, set: () => {} })
    for (let i = 0; i < 50; i++) clock.insert(i, NEVER)
    expect(evictAll(clock).sort(byNumber)).toEqual(Array.from({ length: 50 }, (_, i) => i))
  })
})

test('a miss looks at a bounded number of frames, though all were hit', () => {
  let looks = 0
  const clock = new ReuseClock(20_000, {
    get: () => {
      looks++
      return AGE_MAX
    },
    set: () => {},
  })
  for (let i = 0; i < 20_000; i++) clock.insert(i, NEVER)
  const frame = clock.victim(ANY)
  clock.insert(frame, clock.stampOf(frame))
  expect(looks).toBeLessThan(500)
})

test.each([
  { others: 'cold', pinnedAre: 'cold' },
  { others: 'hot', pinnedAre: 'cold' },
  { others: 'cold', pinnedAre: 'hot' },
  { others: 'hot', pinnedAre: 'hot' },
])('frames that may not go, and are $pinnedAre, are passed over once a lap; others are $others', (made) => {
  const [frames, pinned] = [20_000, 15_000]
  const { clock } = clockOf(frames)
  for (let i = 0; i < frames; i++) {
    if ((i < pinned ? made.pinnedAre : made.others) === 'cold') clock.insertCold(i)
    else clock.insert(i, NEVER)
  }
  let looks = 0
  const mayEvict = (frame: number) => {
    looks++
    return frame >= pinned
  }
  const evicted = 2 * (frames - pinned)
  for (let i = 0; i < evicted; i++) clock.insertCold(clock.victim(mayEvict))
  // Some are looked at before the other list has to give.
  expect(looks).toBeLessThanOrEqual(17 * evicted + 3 * pinned)
  clock.checkInvariants()
})

test('nothing to evict: nothing inserted, or nothing that may go', () => {
  const { clock } = clockOf(4)
  expect(clock.victim(ANY)).toBe(-1)
  clock.insert(2, NEVER)
  expect(clock.victim(NONE)).toBe(-1)
  expect(clock.victim(ANY)).toBe(2)
})

test('a frame that was hit goes when all others are pinned', () => {
  const { ages, clock } = clockOf(2)
  clock.insertCold(0)
  clock.insertCold(1)
  ages[1] = 1
  expect(clock.victim((frame) => frame !== 0)).toBe(1)
})

test('what readahead brought and nobody asked for goes before what somebody asked for', () => {
  const { clock } = clockOf(100)
  for (let i = 0; i < 90; i++) clock.insert(i, NEVER)
  for (let i = 90; i < 100; i++) clock.insertCold(i)
  const firstTen = Array.from({ length: 10 }, () => clock.victim(ANY))
  expect(firstTen).toEqual([90, 91, 92, 93, 94, 95, 96, 97, 98, 99])
})

test('a page that is hit twice while it is cold becomes hot; one that is hit once has another lap', () => {
  const { ages, clock } = clockOf(100)
  for (let i = 0; i < 100; i++) clock.insertCold(i)
  ages[0] = 1
  ages[1] = 2
  // 0 once, then 1: it is hot, and the cold list is the first to give.
  expect(evictAll(clock)).toEqual([...Array.from({ length: 98 }, (_, i) => i + 2), 0, 1])
})

/** Hot pages 0 … 98 of a cache of 100; the cold list is one page. */
function withHotPages() {
  const made = clockOf(100)
  for (let i = 0; i < 100; i++) made.clock.insert(i, NEVER)
  return made
}

test('a scan of any length takes the cold frames and no others', () => {
  const { clock } = withHotPages()
  const frame = clock.victim(ANY)
  for (let i = 0; i < 10_000; i++) {
    clock.insert(frame, NEVER)
    expect(clock.victim(ANY)).toBe(frame)
  }
})

test('a refault is hot if its distance is shorter than that of the oldest hot page, else it is cold', () => {
  for (const areHit of [true, false]) {
    const { ages, clock } = withHotPages()
    const frame = clock.victim(ANY)
    clock.insert(frame, NEVER)
    expect(clock.victim(ANY)).toBe(frame)
    const stamp = clock.stampOf(frame)
    // Longer than the cold list could be, so that it does not grow.
    for (let i = 0; i < 150; i++) {
      clock.insertCold(frame)
      clock.remove(frame)
    }
    if (areHit) ages.fill(1)
    clock.insert(frame, stamp)
    // As a hot one it is one too many, and the oldest hot one goes; as a cold one it goes itself.
    expect(clock.victim(ANY)).toBe(areHit ? frame : 0)
  }
})

test('the cold list grows when its pages are wanted again soon, and shrinks when hot ones are', () => {
  const { clock } = withHotPages()
  const evict = () => {
    const frame = clock.victim(ANY)
    return { frame, stamp: clock.stampOf(frame) }
  }
  const fromCold = Array.from({ length: 20 }, () => {
    const evicted = evict()
    clock.insert(evicted.frame, NEVER)
    return evicted.stamp
  })
  const least = clock.coldTarget
  const fromHot = fromCold.map((stamp) => {
    const evicted = evict()
    clock.insert(evicted.frame, stamp)
    return evicted.stamp
  })
  const grown = clock.coldTarget
  expect(grown).toBeGreaterThan(least + 10)
  // All but the first made room in the hot list.
  for (const stamp of fromHot.slice(1)) clock.insert(evict().frame, stamp)
  expect(clock.coldTarget).toBeLessThan(grown - 10)
})

test('a shadow is worth keeping for sixteen times the frames, also when time has come round', () => {
  const { clock } = clockOf(10)
  const pass = (ticks: number) => {
    for (let i = 0; i < ticks; i++) {
      clock.insertCold(0)
      clock.remove(0)
    }
  }
  for (let round = 0; round < 2; round++) {
    clock.insertCold(0)
    const stamp = clock.stampOf(clock.victim(ANY))
    pass(159)
    expect(clock.isWorthKeeping(stamp)).toBe(true)
    pass(1)
    expect(clock.isWorthKeeping(stamp)).toBe(false)
    pass(2 ** (STAMP_BITS - 1) - 300)
    expect(clock.isWorthKeeping(stamp)).toBe(false)
    pass(300)
  }
})

test('frames beyond the capacity are refused', () => {
  const { clock } = clockOf(10)
  expect(() => clock.resize(11)).toThrow(RangeError)
  expect(() => clock.resize(0)).toThrow(RangeError)
})
