/** Reading through windows: which bytes, how far, and what a hint of the index may not do. */
import { expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { FOUND, type Lookup } from '../../../src/cache/lookup.ts'
import { OwnPages } from '../../../src/cache/own-pages.ts'
import { RunMap } from '../../../src/cache/run-map.ts'
import type { Arena } from '../../../src/library/arena.ts'
import { DirectReader } from '../../../src/library/direct-reader.ts'
import { FileLayout, type LayoutHandle } from '../../../src/library/layout.ts'
import { PageReader } from '../../../src/library/page-reader.ts'
import { Windows } from '../../../src/library/windows.ts'

const HOME = 3
const SEGMENT = 4 * PAGE_BYTES

/** A file of eight pages, of which the last are those of a home from its second page on; the index says of all that they are direct. */
function world({ windowBytes = 6 * PAGE_BYTES, isPast = false } = {}) {
  const segments = [0, 1].map((index) =>
    Uint8Array.from({ length: SEGMENT }, (_, at) => Math.floor(at / PAGE_BYTES) + 4 * index + 1),
  )
  const lookup = { find: () => FOUND.DIRECT, fence: () => {} } as unknown as Lookup
  const direct = new DirectReader(lookup, new Windows(() => segments), () => {})
  const own = OwnPages.allocate(8 * PAGE_BYTES)
  const map = RunMap.build([{ filePage: 4, pageCount: 4, home: HOME, homePage: 1 }], 8 * PAGE_BYTES)
  const windows = []
  windows[HOME] = { address: 2 ** 21, capacity: 2 * SEGMENT, bytes: windowBytes, isSampled: true }
  const handle: LayoutHandle = {
    mapping: 0,
    version: 0,
    shared: { map: map.buffer, own, homes: new Int32Array(HOME + 1).fill(5), windows },
    isPast,
  }
  const reader = new PageReader(lookup, {} as Arena, undefined, direct)
  return { reader, layout: new FileLayout(handle), own: new OwnPages(own) }
}

test('bytes are those of the home, across segments', () => {
  const { reader, layout } = world()
  const bytes = new Uint8Array(3 * PAGE_BYTES)
  expect(reader.copy(layout, 5 * PAGE_BYTES + 10, bytes, 0, 2 * PAGE_BYTES + 7)).toBe(2 * PAGE_BYTES + 7)
  expect(
    [0, PAGE_BYTES - 11, PAGE_BYTES - 10, 2 * PAGE_BYTES - 10, 2 * PAGE_BYTES + 6, 2 * PAGE_BYTES + 7].map(
      (at) => bytes[at],
    ),
  ).toEqual([3, 3, 4, 5, 5, 0])
})

test('pages of the file itself are not read there, whatever the index says', () => {
  const { reader, layout, own } = world()
  const bytes = new Uint8Array(PAGE_BYTES)
  // Of no run.
  expect(reader.copy(layout, 0, bytes, 0, 10)).toBe(0)
  own.add(6 * PAGE_BYTES, 7 * PAGE_BYTES)
  expect(reader.find(layout, 6)).toBe(FOUND.NOTHING)
  expect(reader.copy(layout, 5 * PAGE_BYTES, bytes, 0, PAGE_BYTES)).toBe(PAGE_BYTES)
  expect(reader.copy(layout, 6 * PAGE_BYTES, bytes, 0, PAGE_BYTES)).toBe(0)
})

test('nothing is read behind the end of what is mapped, nor where nothing is', () => {
  const { reader, layout } = world({ windowBytes: 4 * PAGE_BYTES + 100 })
  expect(reader.copy(layout, 7 * PAGE_BYTES, new Uint8Array(PAGE_BYTES), 0, 100)).toBe(100)
  expect(reader.copy(layout, 7 * PAGE_BYTES, new Uint8Array(PAGE_BYTES), 0, 101)).toBe(0)
  const alone = new FileLayout({ mapping: 0, version: 0 })
  expect(reader.copy(alone, 0, new Uint8Array(10), 0, 10)).toBe(0)
})

test('only pages of the file itself are read past the cache', () => {
  const { layout, own } = world({ isPast: true })
  own.add(6 * PAGE_BYTES, 7 * PAGE_BYTES)
  expect([0, 4, 5, 6, 7].map((page) => layout.isPast(page))).toEqual([true, false, false, true, false])
  expect(world().layout.isPast(0)).toBe(false)
})
