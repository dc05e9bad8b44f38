import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { type Hint, isStillAt, proveStretch, stretchHints } from '../../../src/homes/proof.ts'
import { checkProofModel } from '../../../src/sim/proof-model.ts'
import { Random } from '../../../src/sim/random.ts'
import { type Extent, ExtentFlag, ExtentList } from '../../../src/storage/extents.ts'

const { SHARED } = ExtentFlag
const home = { name: 'home', size: 100 * PAGE_BYTES }

/** Extents in pages: [file page, address in pages, pages, flags]. */
function list(...rows: [number, number, number, number?][]): ExtentList {
  return ExtentList.from(
    rows.map(([logical, physical, length, flags = SHARED]): Extent => {
      return { logical: logical * PAGE_BYTES, physical: physical * PAGE_BYTES, length: length * PAGE_BYTES, flags }
    }),
  )
}

function hint(page: number, count: number, shift: number, physical: number, of = home): Hint<typeof home> {
  const start = page * PAGE_BYTES
  return {
    start,
    end: start + count * PAGE_BYTES,
    home: of,
    shift: shift * PAGE_BYTES,
    physical: physical * PAGE_BYTES,
  }
}

function prove(before: ExtentList, ofHome: ExtentList, after: ExtentList, size: number, ...hints: Hint<typeof home>[]) {
  return stretchHints(hints, size)
    .flatMap((stretch) => proveStretch(stretch, before, ofHome, after, size))
    .map(({ filePage, pageCount, homePage }) => [filePage, pageCount, homePage])
}

describe('intersecting extents of file and home', () => {
  it('concludes just what a model concludes that looks at every sector', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => checkProofModel(new Random(seed))),
      { numRuns: 2000 },
    )
  })

  it('wants the same address in both looks and in the home', () => {
    const extents = list([0, 50, 10])
    const moved = list([0, 50, 4], [4, 90, 2], [6, 56, 4])
    const size = 10 * PAGE_BYTES
    expect(prove(extents, extents, extents, size, hint(0, 10, 0, 50))).toEqual([[0, 10, 0]])
    const parts = [
      [0, 4, 0],
      [6, 4, 6],
    ]
    expect(prove(moved, extents, extents, size, hint(0, 10, 0, 50))).toEqual(parts)
    expect(prove(extents, moved, extents, size, hint(0, 10, 0, 50))).toEqual(parts)
    expect(prove(extents, extents, moved, size, hint(0, 10, 0, 50))).toEqual(parts)
  })

  it('joins extents of less than a page, if they make whole pages', () => {
    const sector = 1024
    const row = (logical: number, physical: number, length: number): Extent => ({
      logical: logical * sector,
      physical: physical * sector,
      length: length * sector,
      flags: SHARED,
    })
    const file = ExtentList.from([row(0, 101, 3), row(3, 200, 6), row(9, 301, 7)])
    const other = ExtentList.from([row(0, 101, 3), row(3, 200, 6), row(9, 999, 3), row(12, 304, 4)])
    const shifted = { ...hint(0, 1, 0, 0), end: 3 * sector, physical: 101 * sector }
    expect(prove(file, other, file, 16 * sector, shifted)).toEqual([
      [0, 2, 0],
      [3, 1, 3],
    ])
  })

  it('leaves hints between pages out', () => {
    const half = { ...hint(0, 2, 0, 50), shift: PAGE_BYTES / 2 }
    expect(stretchHints([half], 10 * PAGE_BYTES)).toEqual([])
  })

  it('stays inside file and home, to the byte at the end of the file', () => {
    const extents = list([0, 50, 10])
    const small = { name: 'small', size: 5 * PAGE_BYTES + 100 }
    const size = 7 * PAGE_BYTES + 100
    expect(prove(extents, extents, extents, size, hint(0, 7, 0, 50, small))).toEqual([[0, 5, 0]])
    expect(prove(extents, extents, extents, small.size, hint(0, 5, 0, 50, small))).toEqual([[0, 6, 0]])
    expect(prove(extents, extents, extents, small.size - 1, hint(0, 5, 0, 50, small))).toEqual([[0, 6, 0]])
    expect(prove(list([3, 50, 4]), list([0, 50, 4]), list([3, 50, 4]), size, hint(3, 4, -3, 50))).toEqual([[3, 5, 0]])
  })

  it('knows when the home is elsewhere', () => {
    expect(isStillAt(hint(2, 3, 1, 50), list([0, 47, 10]))).toBe(true)
    expect(isStillAt(hint(2, 3, 1, 50), list([0, 47, 5]))).toBe(false)
    expect(isStillAt(hint(2, 3, 1, 50), list([0, 47, 5], [5, 90, 5]))).toBe(false)
  })
})
