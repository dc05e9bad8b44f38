import fc from 'fast-check'
import { expect, test } from 'vitest'
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
    own.add(0, Infinity)
    own.add(size, size + 1)
    for (let page = 0; page * PAGE < size; page++) expect(own.has(page)).toBe(true)
    expect([own.isEmpty, own.runLength(0, Math.ceil(size / PAGE))]).toEqual([false, Math.ceil(size / PAGE)])
  }
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
