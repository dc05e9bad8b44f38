import { expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { OwnPages } from '../../../src/cache/own-pages.ts'
import { PieceWalk } from '../../../src/cache/resolve.ts'
import { OWN, RunMap } from '../../../src/cache/run-map.ts'

test('a file that has grown is its own behind the last run in one piece: none begins within a page', () => {
  const map = RunMap.build([{ filePage: 0, pageCount: 2, home: 7, homePage: 5 }], 74 * PAGE_BYTES + 1009)
  const own = new OwnPages(OwnPages.allocate(map.endOfRuns))
  own.add(map.sizeBytes, Number.POSITIVE_INFINITY)
  const walk = new PieceWalk()
  walk.start(map, 0, 80 * PAGE_BYTES, own)
  const pieces: number[][] = []
  while (walk.next()) pieces.push([walk.home, walk.offset / PAGE_BYTES, walk.length / PAGE_BYTES])
  expect(pieces).toEqual([
    [7, 5, 2],
    [OWN, 2, 78],
  ])
})
