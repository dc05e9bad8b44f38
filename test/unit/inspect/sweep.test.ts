import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FileFacts, FileTable } from '../../../src/inspect/files.ts'
import { FileRanges, PageState, RangeTable } from '../../../src/inspect/ranges.ts'
import { coverOnce, noSums, type SweepSums, sweep } from '../../../src/inspect/sweep.ts'

const BLOCK = 4096
const FILES = 6

interface Range {
  start: number
  length: number
  file: number
  state: PageState
}

const FACTS: FileFacts = {
  ...{ directory: 0, name: '', device: 0, ino: 1, stamp: 0, size: 0, allocated: 0, cached: 0, pieces: 1 },
}

function tableOf(count: number): FileTable {
  const files = new FileTable()
  for (let i = 0; i < count; i++) files.add(FACTS)
  return files
}

/** In the order of files, as the walk meets them. */
function rangesOf(ranges: Range[]): RangeTable {
  const table = new RangeTable()
  const own = new FileRanges()
  for (let file = 0; file < FILES; file++) {
    own.clear()
    // Offsets that never continue one another, so that each range stays a record of its own.
    ranges.forEach((range, i) => {
      const start = range.start * BLOCK
      if (range.file === file) own.add(start, start + range.length * BLOCK, i * 2 ** 30, range.state)
    })
    table.addFile(file, own)
  }
  return table
}

/** The definition, block by block. */
function modelOf(ranges: Range[], fileCount: number) {
  const sums: SweepSums = noSums()
  const columns = { shared: [0], cachedAgain: [0], duplicate: [0], potential: [0], reread: [0] }
  for (const column of Object.values(columns)) column.push(...Array(fileCount - 1).fill(0))
  const neighbours = new Set<string>()
  const end = Math.max(0, ...ranges.map(({ start, length }) => start + length))
  for (let block = 0; block < end; block++) {
    const over = ranges.filter(({ start, length }) => start <= block && block < start + length)
    const cacheable = over.filter(({ state }) => state !== PageState.direct)
    const read = cacheable.filter(({ state }) => state !== PageState.absent)
    const resident = over.filter(({ state }) => state === PageState.resident)
    if (over.length === 1) sums.elsewhere += BLOCK
    if (over.length > 1) sums.shared += BLOCK
    sums.saved += Math.max(0, over.length - 1) * BLOCK
    sums.potential += Math.max(0, cacheable.length - 1) * BLOCK
    sums.reread += Math.max(0, read.length - 1) * BLOCK
    sums.duplicate += Math.max(0, resident.length - 1) * BLOCK
    if (resident.length > 1) sums.cachedAgain += BLOCK
    for (const { file } of over) {
      if (over.length > 1) columns.shared[file]! += BLOCK
      for (const other of over) neighbours.add(`${file} ${other.file}`)
    }
    for (const { file } of cacheable) columns.potential[file]! += (BLOCK * (cacheable.length - 1)) / cacheable.length
    for (const { file } of read) columns.reread[file]! += (BLOCK * (read.length - 1)) / read.length
    for (const { file } of resident) {
      columns.duplicate[file]! += (BLOCK * (resident.length - 1)) / resident.length
      if (resident.length > 1) columns.cachedAgain[file]! += BLOCK
    }
  }
  return { sums, columns, neighbours }
}

/** Who can be reached from whom over shared blocks: the smallest file of each file's group. */
function groupsOf(neighbours: Set<string>, fileCount: number): number[] {
  const group = Array.from({ length: fileCount }, (_, i) => i)
  for (let changed = true; changed; ) {
    changed = false
    for (const pair of neighbours) {
      const [a, b] = pair.split(' ').map(Number) as [number, number]
      if (group[a]! < group[b]!) {
        group[b] = group[a]!
        changed = true
      }
    }
  }
  return group
}

const file = fc.nat(FILES - 1)
const state = fc.constantFrom(...Object.values(PageState))
const arbitraryRanges = fc.array(
  fc.oneof(
    fc.record({ start: fc.nat(40), length: fc.integer({ min: 1, max: 20 }), file, state }),
    // Of clones: often the same ones.
    fc.record({ start: fc.constantFrom(0, 20), length: fc.constant(10), file, state }),
  ),
  { maxLength: 30 },
)

describe('sweep', () => {
  test('equals counting block by block', () => {
    fc.assert(
      fc.property(arbitraryRanges, (ranges) => {
        const files = tableOf(FILES)
        const sums = noSums()
        sweep(rangesOf(ranges), files, sums)
        const model = modelOf(ranges, FILES)
        expect(sums).toEqual(model.sums)
        for (const [name, expected] of Object.entries(model.columns)) {
          const column = files[name as keyof typeof model.columns]
          expected.forEach((value, file) => {
            expect(column[file], `${name} of file ${file}`).toBeCloseTo(value, 5)
          })
        }
      }),
      { numRuns: 500 },
    )
  })

  test('groups are what shared blocks connect, and their sums add up', () => {
    fc.assert(
      fc.property(arbitraryRanges, (ranges) => {
        const files = tableOf(FILES)
        const sums = noSums()
        sweep(rangesOf(ranges), files, sums)
        const { neighbours } = modelOf(ranges, FILES)
        const expected = groupsOf(neighbours, FILES)
        expect(expected.map((_, file) => files.groupOf(file))).toEqual(expected)
        const total = (column: Float64Array) => column.slice(0, FILES).reduce((sum, value) => sum + value, 0)
        expect(total(files.groupShared)).toBe(sums.shared)
        expect(total(files.groupPotential)).toBe(sums.potential)
        expect(total(files.groupDuplicate)).toBe(sums.duplicate)
        expect(total(files.groupReread)).toBe(sums.reread)
        expect(total(files.duplicate)).toBeCloseTo(sums.duplicate, 4)
      }),
      { numRuns: 300 },
    )
  })

  test('ten thousand clones of one extent: exact, and no slower per range', () => {
    const count = 10_000
    const bytes = 2 ** 30
    const ranges = new RangeTable()
    const own = new FileRanges()
    own.add(2 ** 50, 2 ** 50 + bytes, 0, PageState.resident)
    for (let file = 0; file < count; file++) ranges.addFile(file, own)
    const files = tableOf(count)
    const sums = noSums()
    sweep(ranges, files, sums)
    expect(sums).toEqual({
      ...{ shared: bytes, cachedAgain: bytes, elsewhere: 0 },
      ...{
        saved: bytes * (count - 1),
        potential: bytes * (count - 1),
        duplicate: bytes * (count - 1),
        reread: bytes * (count - 1),
      },
    })
    expect(files.duplicate[4321]).toBeCloseTo((bytes * (count - 1)) / count, 3)
    expect(files.groupOf(count - 1)).toBe(0)
  })

  test('a file that uses a block twice holds it twice', () => {
    const own = new FileRanges()
    own.add(0, BLOCK, 0, PageState.resident)
    own.add(0, BLOCK, 8 * BLOCK, PageState.resident)
    const ranges = new RangeTable()
    ranges.addFile(0, own)
    const sums = noSums()
    sweep(ranges, tableOf(1), sums)
    expect(sums).toMatchObject({ shared: BLOCK, duplicate: BLOCK, potential: BLOCK, elsewhere: 0 })
  })
})

test('coverOnce visits every byte exactly once, through a file that has it', () => {
  fc.assert(
    fc.property(arbitraryRanges, (ranges) => {
      const list = rangesOf(ranges)
      const seen = new Map<number, number>()
      coverOnce(list, (file, offset, length) => {
        const range = ranges[Math.floor(offset / 2 ** 30)]!
        expect(range.file).toBe(file)
        const first = range.start + (offset % 2 ** 30) / BLOCK
        expect(length / BLOCK).toBeLessThanOrEqual(range.start + range.length - first)
        for (let block = first; block < first + length / BLOCK; block++) seen.set(block, (seen.get(block) ?? 0) + 1)
      })
      const expected = new Set(ranges.flatMap(({ start, length }) => Array.from({ length }, (_, i) => start + i)))
      expect(new Set(seen.keys())).toEqual(expected)
      expect([...seen.values()].every((times) => times === 1)).toBe(true)
    }),
  )
})
