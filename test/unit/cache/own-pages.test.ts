import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OwnPages } from '../../../src/cache/own-pages.ts'
import { PieceWalk } from '../../../src/cache/resolve.ts'
import { OWN, RunMap } from '../../../src/cache/run-map.ts'

const PAGE = 4096
const PAGES = 100

/** Ranges in bytes; some reach behind the map. */
const ranges = fc.array(
  fc.record({
    start: fc.integer({ min: 0, max: PAGES * PAGE + 9000 }),
    length: fc.integer({ min: 0, max: 70 * PAGE }),
  }),
  { maxLength: 6 },
)

function added(own: OwnPages, changes: readonly { start: number; length: number }[]): Set<number> {
  const pages = new Set<number>()
  for (const { start, length } of changes) {
    own.add(start, start + length)
    for (let page = Math.floor(start / PAGE); page * PAGE < start + length; page++) pages.add(page)
  }
  return pages
}

test('holds the pages that were added, and no others', () => {
  fc.assert(
    fc.property(ranges, (changes) => {
      const own = new OwnPages(OwnPages.allocate(PAGES * PAGE))
      expect(own.isEmpty).toBe(true)
      const model = added(own, changes)
      expect(own.isEmpty).toBe(changes.length === 0)
      for (let page = 0; page < PAGES; page++) {
        expect(own.has(page)).toBe(model.has(page))
        let run = 1
        while (page + run < PAGES && model.has(page + run) === model.has(page)) run++
        const limit = PAGES - page
        expect(own.runLength(page, limit)).toBe(run)
      }
    }),
  )
})

test('once all are own, they are for good, however long the file was', () => {
  for (const size of [1, PAGE, 31 * PAGE, 32 * PAGE, PAGES * PAGE]) {
    const own = new OwnPages(OwnPages.allocate(size))
    own.add(0, PAGE / 2)
    own.addAll()
    own.add(size, size + 1)
    for (let page = 0; page * PAGE < size; page++) expect(own.has(page)).toBe(true)
    expect([own.isEmpty, own.runLength(0, Math.ceil(size / PAGE))]).toEqual([false, Math.ceil(size / PAGE)])
  }
})

test('what is noted makes no page own, and takes none back', () => {
  const own = new OwnPages(OwnPages.allocate(PAGES * PAGE))
  own.noteWritten()
  expect([own.isEmpty, own.runLength(0, PAGES), own.has(0)]).toEqual([false, PAGES, false])
  own.addAll()
  own.noteWritten()
  expect([own.runLength(0, PAGES), own.has(PAGES - 1)]).toEqual([PAGES, true])
})

describe('of a file of many TiB', () => {
  /** Pages whose numbers have more than 32 bits. */
  const PAGE_MAX = 2 ** 39

  test('takes little memory, and little time to be all own', () => {
    const buffer = OwnPages.allocate(PAGE_MAX * PAGE)
    expect(buffer.byteLength).toBeLessThanOrEqual((8 << 20) + 8)
    const own = new OwnPages(buffer)
    own.add(PAGE, Infinity)
    expect([own.has(0), own.has(1), own.has(PAGE_MAX - 1), own.has(PAGE_MAX)]).toEqual([true, true, true, false])
    expect([own.runLength(0, PAGE_MAX), own.runLength(0, 2 * PAGE_MAX)]).toEqual([PAGE_MAX, PAGE_MAX])
  })

  test('holds the pages that were added and neighbours of theirs, and no others', () => {
    const unit = PAGE_MAX / 2 ** 26
    const pages = fc.integer({ min: 0, max: PAGE_MAX - 1 })
    fc.assert(
      fc.property(pages, fc.integer({ min: 1, max: 5 * unit }), (page, count) => {
        const own = new OwnPages(OwnPages.allocate(PAGE_MAX * PAGE))
        own.add(page * PAGE, (page + count) * PAGE)
        const from = Math.floor(page / unit) * unit
        const to = Math.min(Math.ceil((page + count) / unit) * unit, PAGE_MAX)
        for (const at of [page, page + count - 1, from, to - 1]) expect(own.has(Math.min(at, PAGE_MAX - 1))).toBe(true)
        for (const at of [from - 1, to, from % 2 ** 32, (to - 1) % 2 ** 32])
          if (at >= 0) expect(own.has(at)).toBe(at >= from && at < to)
        expect(own.runLength(page, PAGE_MAX - page)).toBe(to - page)
        expect(own.runLength(page, 1)).toBe(1)
        expect(own.runLength(to, PAGE_MAX)).toBe(PAGE_MAX)
        if (from > 0) expect(own.runLength(0, PAGE_MAX)).toBe(from)
      }),
      { numRuns: 20 },
    )
  })

  test('that shares its beginning only has bits for that', () => {
    const map = RunMap.build([{ filePage: 2, pageCount: 5, home: 3, homePage: 7 }], 2 ** 51)
    expect(map.endOfRuns).toBe(7 * PAGE)
    const own = new OwnPages(OwnPages.allocate(map.endOfRuns))
    own.add(4 * PAGE, 5 * PAGE)
    const walk = new PieceWalk()
    walk.start(map, 0, 2 ** 50, own)
    const pieces: number[][] = []
    while (walk.next()) pieces.push([walk.home, walk.offset / PAGE, walk.length / PAGE])
    expect(pieces).toEqual([
      [OWN, 0, 2],
      [3, 7, 2],
      [OWN, 4, 1],
      [3, 10, 2],
      [OWN, 7, 2 ** 38 - 7],
    ])
  })
})

test('every byte of a read comes from the home unless its page became own; behind the map all is own', () => {
  const sizes = fc.integer({ min: 1, max: PAGES * PAGE })
  const reads = fc.record({
    offset: fc.integer({ min: 0, max: PAGES * PAGE }),
    length: fc.integer({ min: 1, max: 60 * PAGE }),
  })
  fc.assert(
    fc.property(sizes, ranges, reads, (size, changes, { offset, length }) => {
      const map = RunMap.build([{ filePage: 0, pageCount: Math.ceil(size / PAGE), home: 3, homePage: 7 }], size)
      const own = new OwnPages(OwnPages.allocate(size))
      const model = added(own, changes)
      const walk = new PieceWalk()
      walk.start(map, offset, length, own)
      let at = offset
      while (walk.next()) {
        expect(walk.done).toBe(at - offset)
        expect(walk.length).toBeGreaterThan(0)
        for (let page = Math.floor(at / PAGE); page * PAGE < at + walk.length; page++) {
          const isOwn = model.has(page) || Math.max(at, page * PAGE) >= size
          expect(walk.home).toBe(isOwn ? OWN : 3)
        }
        expect(walk.offset).toBe(walk.home === OWN ? at : at + 7 * PAGE)
        at += walk.length
      }
      expect(at).toBe(offset + length)
    }),
  )
})
