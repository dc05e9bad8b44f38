/** What is asked for ahead of whom; also where page numbers have more than 31 bits. */
import { beforeEach, describe, expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { InodeTable } from '../../../src/daemon/inode-table.ts'
import { SequentialReader } from '../../../src/daemon/sequential-reader.ts'

const TEBIBYTE = 2 ** 40
const WINDOW_PAGES = 64
const READ_PAGES = 8
const SLOT_NUMBER = 3

let reader: SequentialReader
beforeEach(() => {
  reader = new SequentialReader(new InodeTable(InodeTable.allocate(8)), WINDOW_PAGES * PAGE_BYTES)
})

/** Reads pages; what is asked for then. */
function read(page: number, count = READ_PAGES): [first: number, end: number] | undefined {
  const isAsking = reader.reading(SLOT_NUMBER, page * PAGE_BYTES, (page + count) * PAGE_BYTES)
  return isAsking ? [reader.first, reader.end] : undefined
}

describe.each([0, 1, 7, 8, 9, 15, 16, 17, 100, 4000])('at %i TiB', (tebibytes) => {
  const start = (tebibytes * TEBIBYTE) / PAGE_BYTES

  test('each page ahead of a sequential reader is asked for once, half a window or more before it is read', () => {
    let asked = 0
    for (let page = start; page < start + 1000; page += READ_PAGES) {
      const range = read(page)
      if (range === undefined) {
        // Only who began elsewhere than at the start has to be seen twice.
        if (page > start) expect(asked - (page + READ_PAGES)).toBeGreaterThan(WINDOW_PAGES / 2)
        continue
      }
      const [first, end] = range
      expect(first).toBe(asked === 0 ? page + READ_PAGES : asked)
      expect(end).toBe(page + READ_PAGES + WINDOW_PAGES)
      asked = end
    }
    expect(asked).toBeGreaterThan(start + 1000)
  })

  test('nothing is asked for ahead of who jumps', () => {
    read(start)
    for (let jump = 1; jump < 20; jump++) expect(read(start + jump * 1000)).toBeUndefined()
  })

  test('who goes back and reads on is asked for again', () => {
    for (let page = start; page < start + 200; page += READ_PAGES) read(page)
    read(start + 4)
    expect(read(start + 4 + READ_PAGES)).toEqual([
      start + 4 + 2 * READ_PAGES,
      start + 4 + 2 * READ_PAGES + WINDOW_PAGES,
    ])
  })
})

test('reads of less than a page go on within it', () => {
  expect(reader.reading(SLOT_NUMBER, 0, 1000)).toBe(true)
  expect([reader.first, reader.end]).toEqual([1, 1 + WINDOW_PAGES])
  expect(reader.reading(SLOT_NUMBER, 1000, 2000)).toBe(false)
  expect(reader.reading(SLOT_NUMBER, 50 * PAGE_BYTES, 51 * PAGE_BYTES)).toBe(false)
})
