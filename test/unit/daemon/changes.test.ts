/** A change of a file's data, and an open that is decided while it is under way. */
import fs from 'node:fs'
import os from 'node:os'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { OwnPages } from '../../../src/cache/own-pages.ts'
import { changeData } from '../../../src/daemon/changes.ts'
import { InodeKey, InodeTable, SLOT } from '../../../src/daemon/inode-table.ts'
import type { RunMaps } from '../../../src/daemon/run-maps.ts'
import { SERVED, ServingState } from '../../../src/daemon/slot-serving.ts'
import { Statx } from '../../../src/linux/statx.ts'

const PAGE = 4096
const PAGES = 16

let fd: number

beforeAll(() => {
  fd = fs.openSync(os.devNull, 'r')
})
afterAll(() => fs.closeSync(fd))

/** A file that is served by `map` (0: by none yet); whoever decides on an open of it stores another map by `decideOn`. */
function file(map: number) {
  const inodes = new InodeTable(InodeTable.allocate(1))
  const slot = inodes.acquire(new InodeKey(), -1, 0, 0)
  const serving = new ServingState(inodes)
  const known = new Map([1, 2].map((number) => [number, new OwnPages(OwnPages.allocate(PAGES * PAGE))]))
  const maps = { get: (number: number) => ({ own: known.get(number) }) } as unknown as RunMaps
  const stat = new Statx()
  const decideOn = (number: number) => {
    expect(stat.ofFd(fd)).toBe(0)
    serving.decide(slot, SERVED.MAPPED, stat, true, 0)
    inodes.set(slot, SLOT.MAP, number)
  }
  if (map > 0) decideOn(map)
  const ownPages = (number: number) =>
    Array.from({ length: PAGES }, (_, page) => page).filter((page) => known.get(number)!.has(page))
  return { slot, stat, inodes, serving, maps, decideOn, ownPages }
}

test('makes its pages the file’s own before it is made', () => {
  const { slot, ownPages, ...parts } = file(1)
  changeData(parts, slot, fd, 2 * PAGE + 1, 4 * PAGE, () => {
    expect(ownPages(1)).toEqual([2, 3])
    expect(parts.inodes.get(slot, SLOT.CHANGING)).toBe(1)
    return 0
  })
  expect([ownPages(1), ownPages(2)]).toEqual([[2, 3], []])
  expect(parts.inodes.get(slot, SLOT.CHANGING)).toBe(0)
  expect(parts.serving.isWritten(slot)).toBe(true)
})

test.each([0, 1])(
  'makes them own, too, in a map that was made meanwhile, of the file as it was before (in the place of map %i)',
  (before) => {
    const { slot, stat, ownPages, decideOn, ...parts } = file(before)
    changeData(parts, slot, fd, 2 * PAGE, 4 * PAGE, () => {
      decideOn(2)
      // Another change, which is under way still when this one ends.
      parts.serving.beginChange(slot, stat)
      return 0
    })
    expect(ownPages(2)).toEqual([2, 3])
    expect(parts.serving.isWritten(slot)).toBe(true)
    expect(parts.inodes.get(slot, SLOT.CHANGING)).toBe(1)
  },
)
