import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { nextShare, type PressureWatch, watchPressure } from '../../../src/library/pressure.ts'
import { MEBIBYTE } from '../../support/files.ts'

const looks = fc.array(
  fc.record({ some: fc.double({ min: 0, max: 100, noNaN: true }), fill: fc.double({ min: 0, max: 2, noNaN: true }) }),
  { maxLength: 60 },
)

test('the share stays between an eighth and one, and moves in the direction of the signs', () => {
  fc.assert(
    fc.property(looks, (list) => {
      let share = 1
      for (const { some, fill } of list) {
        const next = nextShare(share, some, fill)
        expect(next).toBeGreaterThanOrEqual(1 / 8)
        expect(next).toBeLessThanOrEqual(1)
        if (some > 5 || fill > 0.95) expect(next).toBe(Math.max(1 / 8, share * 0.75))
        else if (some < 1 && fill < 0.85) expect(next).toBe(Math.min(1, share + 1 / 16))
        else expect(next).toBe(share)
        share = next
      }
    }),
  )
})

test('under lasting pressure it gets to an eighth, and back to all when that is over', () => {
  let share = 1
  for (let i = 0; i < 20; i++) share = nextShare(share, 50, 0)
  expect(share).toBe(1 / 8)
  for (let i = 0; i < 14; i++) share = nextShare(share, 0, 0.5)
  expect(share).toBe(1)
})

test('tells of changes only, and of none after it was ended', () => {
  vi.useFakeTimers()
  try {
    const signs = { some: () => 0 as number | undefined, room: () => undefined }
    const shares: number[] = []
    const { stop } = watchPressure((share) => shares.push(share), signs)
    vi.advanceTimersByTime(5000)
    expect(shares).toEqual([])
    signs.some = () => 20
    vi.advanceTimersByTime(2000)
    expect(shares).toEqual([0.75, 0.5625])
    signs.some = () => undefined
    vi.advanceTimersByTime(1000)
    expect(shares.at(-1)).toBe(0.625)
    stop()
    signs.some = () => 99
    vi.advanceTimersByTime(10_000)
    expect(shares.length).toBe(3)
  } finally {
    vi.useRealTimers()
  }
})

test('while the cache is filled the limit is looked at whenever a quarter of what is left has come in, PSI once a second', () => {
  vi.useFakeTimers()
  try {
    const room = (mebibytes: number) => ({ fill: 1 - mebibytes / 100, bytesLeft: mebibytes * MEBIBYTE })
    const signs = { some: () => 99, room: vi.fn(() => room(80)) }
    const shares: number[] = []
    const watch = watchPressure((share) => shares.push(share), signs)
    const looks = () => signs.room.mock.calls.length
    expect(looks()).toBe(1)
    for (let i = 0; i < 19; i++) watch.cached(MEBIBYTE, true)
    expect(looks()).toBe(1)
    signs.room.mockReturnValue(room(4.5))
    watch.cached(MEBIBYTE, true)
    expect([looks(), ...shares]).toEqual([2, 0.75])
    // A quarter of 4.5 MiB is more than one.
    watch.cached(MEBIBYTE, true)
    expect(looks()).toBe(2)
    signs.room.mockReturnValue(room(-1))
    watch.cached(MEBIBYTE, true)
    expect([looks(), ...shares]).toEqual([3, 0.75, 0.5625])
    // There is nothing left, but hits and small loads shall not pay for that.
    for (let i = 0; i < 3; i++) watch.cached(MEBIBYTE / 4, true)
    expect(looks()).toBe(3)
    watch.cached(MEBIBYTE / 4, true)
    expect(shares.length).toBe(3)
    // What takes the place of others counts an eighth.
    signs.room.mockReturnValue(room(8))
    const before = looks()
    for (let i = 0; i < 7; i++) watch.cached(MEBIBYTE, false)
    expect(looks()).toBe(before)
    for (let i = 0; i < 9; i++) watch.cached(MEBIBYTE, false)
    expect(looks()).toBe(before + 1)
    // It grows back by the second alone.
    signs.some = () => 0
    signs.room.mockReturnValue(room(60))
    for (let i = 0; i < 100; i++) watch.cached(MEBIBYTE, true)
    expect(shares.length).toBe(3)
    vi.advanceTimersByTime(1000)
    expect(shares.at(-1)).toBe(shares[2]! + 1 / 16)
    watch.stop()
  } finally {
    vi.useRealTimers()
  }
})

test('nobody looks for what comes in once the cache has shrunk as far as it does, or the watch was ended', () => {
  vi.useFakeTimers()
  try {
    const signs = { some: () => 0, room: vi.fn(() => ({ fill: 1, bytesLeft: 0 })) }
    const shares: number[] = []
    const load = (watch: PressureWatch) => {
      for (let i = 0; i < 20; i++) watch.cached(MEBIBYTE, true)
    }
    const watch = watchPressure((share) => shares.push(share), signs)
    load(watch)
    expect(shares.at(-1)).toBe(1 / 8)
    expect(signs.room).toHaveBeenCalledTimes(1 + shares.length)
    watch.stop()
    const ended = watchPressure((share) => shares.push(share), signs)
    ended.stop()
    signs.room.mockClear()
    shares.length = 0
    load(watch)
    load(ended)
    expect([signs.room.mock.calls.length, ...shares]).toEqual([0])
  } finally {
    vi.useRealTimers()
  }
})
