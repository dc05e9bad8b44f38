import fc from 'fast-check'
import { expect, it } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { type Run, RunMap } from '../../../src/cache/run-map.ts'
import type { HomeStorage, SourceFile } from '../../../src/homes/home-storage.ts'
import { findChanged } from '../../../src/homes/recheck.ts'
import { ExtentFlag, ExtentList } from '../../../src/storage/extents.ts'

const PAGES = 24
const FILE: SourceFile = { key: 'f', fileSystem: 'x', domain: 0 }

/** Where each page lies, undefined for a hole, as extents of [start, start + length). */
function extentsOf(places: readonly (number | undefined)[], start: number, length: number): ExtentList {
  const list = new ExtentList()
  places.forEach((place, page) => {
    const at = page * PAGE_BYTES
    if (place !== undefined)
      list.appendClipped(at, place * PAGE_BYTES, PAGE_BYTES, ExtentFlag.SHARED, start, start + length)
  })
  return list
}

/** A storage of one file and two homes; `counters` are what its reuse counter says, call by call. */
function storageOf(
  file: readonly (number | undefined)[],
  homes: readonly (number | undefined)[][],
  counters: number[],
) {
  const storage: Pick<HomeStorage<SourceFile, number>, 'extents' | 'homeExtents' | 'reuseCounter'> = {
    extents: async (_, start, length) => extentsOf(file, start, length),
    homeExtents: async (home, start, length) => extentsOf(homes[home]!, start, length),
    reuseCounter: async () => counters.shift() ?? 0,
  }
  return storage as HomeStorage<SourceFile, number>
}

const place = fc.option(fc.nat(5), { nil: undefined })
const places = fc.array(place, { minLength: PAGES, maxLength: PAGES })
const runs = fc.array(
  fc.record({
    gap: fc.nat(4),
    pageCount: fc.integer({ min: 1, max: 6 }),
    home: fc.nat(1),
    homePage: fc.nat(PAGES - 6),
  }),
  {
    maxLength: 6,
  },
)

function mapOf(parts: readonly { gap: number; pageCount: number; home: number; homePage: number }[]): RunMap {
  const list: Run[] = []
  let next = 0
  for (const { gap, pageCount, home, homePage } of parts) {
    const filePage = next + gap
    if (filePage + pageCount > PAGES) break
    list.push({ filePage, pageCount, home, homePage })
    next = filePage + pageCount
  }
  return RunMap.build(list, PAGES * PAGE_BYTES)
}

it('finds the pages of a map that lie elsewhere than in their homes, and no others', async () => {
  await fc.assert(
    fc.asyncProperty(places, fc.tuple(places, places), runs, fc.nat(PAGES), async (file, homes, parts, sizePages) => {
      const map = mapOf(parts)
      // A file that was cut has nothing behind its end.
      const now = file.map((at, page) => (page < sizePages ? at : undefined))
      const storage = storageOf(now, homes, [])
      const homeOf = (number: number) => ({ file: number, size: PAGES * PAGE_BYTES })
      const changed = await findChanged(storage, FILE, sizePages * PAGE_BYTES, map, homeOf, 1000)
      const told = new Set<number>()
      for (const [start, end] of changed) for (let at = start; at < end; at += PAGE_BYTES) told.add(at / PAGE_BYTES)
      const wanted = new Set<number>()
      for (let i = 0; i < map.runCount; i++) {
        const { filePage, pageCount, home, homePage } = map.run(i)
        for (let k = 0; k < pageCount; k++) {
          const page = filePage + k
          if (page >= sizePages || now[page] !== homes[home]![homePage + k]) wanted.add(page)
        }
      }
      expect([...told].sort()).toEqual([...wanted].sort())
    }),
    { numRuns: 500 },
  )
})

it('believes nothing where blocks may have been reused between the looks, and nothing of a home that is gone', async () => {
  const file = Array.from({ length: PAGES }, (_, page) => page)
  const map = RunMap.build([{ filePage: 2, pageCount: 4, home: 0, homePage: 2 }], PAGES * PAGE_BYTES)
  const size = PAGES * PAGE_BYTES
  const homeOf = (number: number) => ({ file: number, size })
  // Once is looked at again, time and again is given up.
  expect(await findChanged(storageOf(file, [file], [1, 2, 2, 2]), FILE, size, map, homeOf, 1000)).toEqual([])
  expect(await findChanged(storageOf(file, [file], [1, 2, 3, 4, 5, 6]), FILE, size, map, homeOf, 1000)).toEqual([
    [0, size],
  ])
  expect(await findChanged(storageOf(file, [file], []), FILE, size, map, () => undefined, 1000)).toEqual([
    [2 * PAGE_BYTES, 6 * PAGE_BYTES],
  ])
})
