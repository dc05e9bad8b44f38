import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Extent, ExtentFlag, ExtentList, extentFlagNames, isShareable } from '../../../src/storage/extents.ts'

const { SHARED, ENCODED, UNWRITTEN, LAST, DELALLOC, UNKNOWN, INLINE, NOT_ALIGNED, DATA_ENCRYPTED, DATA_TAIL, MERGED } =
  ExtentFlag

describe('isShareable', () => {
  it('wants SHARED and none of the flags that part bytes from blocks', () => {
    expect(isShareable(SHARED)).toBe(true)
    expect(isShareable(SHARED | LAST)).toBe(true)
    expect(isShareable(SHARED | MERGED)).toBe(true)
    expect(isShareable(0)).toBe(false)
    for (const flag of [ENCODED, UNWRITTEN, DELALLOC, UNKNOWN, INLINE, NOT_ALIGNED, DATA_ENCRYPTED, DATA_TAIL]) {
      expect(isShareable(SHARED | flag), extentFlagNames(flag)).toBe(false)
    }
  })
})

describe('ExtentList', () => {
  it('merges what continues in file, on the device and in flags, and nothing else', () => {
    const list = new ExtentList()
    list.append(0, 1000, 10, SHARED)
    list.append(10, 1010, 10, SHARED | LAST)
    expect(list.toArray()).toEqual([{ logical: 0, physical: 1000, length: 20, flags: SHARED }])
    list.append(20, 1020, 10, 0)
    list.append(30, 2000, 10, 0)
    list.append(41, 2010, 10, 0)
    expect(list.count).toBe(4)
    list.check()
  })

  it('keeps compressed extents apart and does not advance their device offset', () => {
    const list = new ExtentList()
    list.appendClipped(0, 100, 100, ENCODED, 40, 200)
    list.appendClipped(100, 160, 100, ENCODED, 40, 200)
    expect(list.toArray()).toEqual([
      { logical: 40, physical: 100, length: 60, flags: ENCODED },
      { logical: 100, physical: 160, length: 100, flags: ENCODED },
    ])
  })

  it('refuses an extent that goes backwards', () => {
    const list = ExtentList.from([{ logical: 100, physical: 0, length: 10, flags: 0 }])
    expect(() => list.append(105, 500, 10, 0)).toThrow(RangeError)
  })

  it('holds offsets beyond 32 bits exactly', () => {
    const list = ExtentList.from([{ logical: 2 ** 45 + 4096, physical: 2 ** 50 + 4096, length: 2 ** 40, flags: 0 }])
    expect(list.end(0)).toBe(2 ** 45 + 4096 + 2 ** 40)
  })

  it('check() finds a list that was tampered with', () => {
    const list = ExtentList.from([
      { logical: 0, physical: 0, length: 10, flags: 0 },
      { logical: 20, physical: 90, length: 10, flags: 0 },
    ])
    list.logical[1] = 5
    expect(() => list.check()).toThrow(/breaks the list/)
  })

  /** Pieces of a file, one after another, some of them continuing their predecessor on the device. */
  const pieces = fc.array(
    fc.record({
      gap: fc.constantFrom(0, 0, 0, 1, 7),
      jump: fc.constantFrom(0, 0, 0, 5, -3000),
      length: fc.integer({ min: 1, max: 9 }),
      flags: fc.constantFrom(0, SHARED, ENCODED, UNWRITTEN, SHARED | LAST),
    }),
    { maxLength: 60 },
  )

  function layOut(steps: { gap: number; jump: number; length: number; flags: number }[]): Extent[] {
    let logical = 0
    let physical = 1_000_000
    return steps.map((step) => {
      logical += step.gap
      physical += step.gap + step.jump
      const extent = { logical, physical, length: step.length, flags: step.flags }
      logical += step.length
      physical += step.length
      return extent
    })
  }

  /** The slow model: what each byte of the file maps to. Byte of a compressed extent: its extent's start. */
  function bytesOf(extents: Extent[], start: number, end: number): Map<number, string> {
    const bytes = new Map<number, string>()
    for (const { logical, physical, length, flags } of extents) {
      for (let i = 0; i < length; i++) {
        if (logical + i < start || logical + i >= end) continue
        bytes.set(logical + i, `${physical + (flags & ENCODED ? 0 : i)} ${flags & ~LAST}`)
      }
    }
    return bytes
  }

  it('maps each byte as the extents given to it, clipped to the range asked for', () => {
    fc.assert(
      fc.property(pieces, fc.nat(300), fc.nat(300), (steps, start, length) => {
        const extents = layOut(steps)
        const list = new ExtentList()
        for (const e of extents) list.appendClipped(e.logical, e.physical, e.length, e.flags, start, start + length)
        list.check()
        expect(bytesOf(list.toArray(), 0, Number.POSITIVE_INFINITY)).toEqual(bytesOf(extents, start, start + length))
      }),
    )
  })

  it('indexAt is the first extent that ends after the offset', () => {
    fc.assert(
      fc.property(pieces, fc.nat(700), (steps, offset) => {
        const list = ExtentList.from(layOut(steps))
        const expected = list.toArray().findIndex((e) => e.logical + e.length > offset)
        expect(list.indexAt(offset)).toBe(expected < 0 ? list.count : expected)
      }),
    )
  })

  it('equals compares everything', () => {
    const one = { logical: 0, physical: 10, length: 20, flags: SHARED }
    expect(ExtentList.from([one]).equals(ExtentList.from([one]))).toBe(true)
    for (const other of [{ logical: 1 }, { physical: 9 }, { length: 19 }, { flags: 0 }])
      expect(ExtentList.from([one]).equals(ExtentList.from([{ ...one, ...other }]))).toBe(false)
    expect(ExtentList.from([one]).equals(new ExtentList())).toBe(false)
  })

  it('is reusable after clear', () => {
    const list = new ExtentList()
    for (let i = 0; i < 100; i++) list.append(i * 10, i * 100, 5, 0)
    list.clear()
    list.append(0, 0, 5, SHARED)
    expect(list.toArray()).toEqual([{ logical: 0, physical: 0, length: 5, flags: SHARED }])
    expect(list.shareableBytes()).toBe(5)
  })
})
