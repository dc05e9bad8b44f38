import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DirectoryTable, joinPath, NO_DIRECTORY } from '../../../src/inspect/directories.ts'
import { FileTable } from '../../../src/inspect/files.ts'
import { GroupTable } from '../../../src/inspect/groups.ts'
import { InodeSet } from '../../../src/inspect/inode-set.ts'
import { largest } from '../../../src/inspect/largest.ts'
import { ascendingOrder } from '../../../src/inspect/order.ts'
import { FileRanges, PageState, RangeTable } from '../../../src/inspect/ranges.ts'

test('ascendingOrder sorts stably', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 300 }), (values) => {
      const expected = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]! || a - b)
      expect([...ascendingOrder(Float64Array.from(values), values.length)]).toEqual(expected)
    }),
  )
})

test('an InodeSet is a set, for small and for huge inode numbers', () => {
  const inode = fc.oneof(fc.bigInt(1n, 300n), fc.bigInt(1n, 2n ** 64n - 1n), fc.bigInt(2n ** 63n, 2n ** 63n + 300n))
  const halves = (ino: bigint) => [Number(ino & 0xffffffffn), Number(ino >> 32n)] as const
  fc.assert(
    fc.property(fc.array(inode, { maxLength: 500 }), (inodes) => {
      const set = new InodeSet()
      const model = new Set<bigint>()
      for (const ino of inodes) {
        expect(set.add(...halves(ino))).toBe(!model.has(ino))
        model.add(ino)
        expect(set.size).toBe(model.size)
      }
      for (const ino of [...inodes, 301n, 2n ** 40n, 2n ** 63n]) expect(set.has(...halves(ino))).toBe(model.has(ino))
    }),
  )
})

test('an InodeSet of a million consecutive numbers stays fast', () => {
  const set = new InodeSet()
  const started = performance.now()
  for (let ino = 1; ino <= 1_000_000; ino++) set.add(ino * 64, 2)
  expect(set.size).toBe(1_000_000)
  expect(performance.now() - started).toBeLessThan(5000)
})

test('largest is the front of a sort', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { maxLength: 60 }), fc.nat(70), (values, count) => {
      const items = values.map((_, i) => i)
      const expected = items
        .toSorted((a, b) => values[b]![0] - values[a]![0] || values[b]![1] - values[a]![1] || a - b)
        .slice(0, count)
      expect(largest(items, count, [(i) => values[i]![0], (i) => values[i]![1]])).toEqual(expected)
      expect(largest(items, Number.POSITIVE_INFINITY, [(i) => values[i]![0]])).toHaveLength(items.length)
    }),
  )
})

test('FileRanges join what continues in device, file and state, and nothing else', () => {
  const list = new FileRanges()
  list.add(0, 10, 100, PageState.absent)
  list.add(10, 20, 110, PageState.absent)
  list.add(20, 20, 120, PageState.absent)
  expect(list.count).toBe(1)
  list.add(20, 30, 121, PageState.absent)
  list.add(30, 40, 131, PageState.resident)
  expect([...list.start.slice(0, list.count)]).toEqual([0, 20, 30])
  expect([...list.end.slice(0, list.count)]).toEqual([20, 30, 40])
})

test('a RangeTable grows with distinct ranges, not with the clones that use them', () => {
  const table = new RangeTable()
  const ranges = new FileRanges()
  const extents = 1000
  const addClone = (file: number, rewritten = -1) => {
    ranges.clear()
    for (let i = 0; i < extents; i++) {
      const start = (i === rewritten ? 2 ** 40 + file : i) * 8192
      ranges.add(start, start + 4096, i * 4096, PageState.absent)
    }
    table.addFile(file, ranges)
  }
  for (let file = 0; file < 100; file++) addClone(file)
  expect(table.count).toBe(extents)
  expect(table.uses.length).toBeLessThan(4 * extents)
  expect([...table.users.slice(0, extents)]).toEqual(Array(extents).fill(100))
  // One that was rewritten in one place has uses of its own, and one range more.
  addClone(100, 500)
  expect(table.count).toBe(extents + 1)
  expect([table.users[499], table.users[500], table.users[extents]]).toEqual([101, 100, 1])
  const usesOf = (row: number) => [
    ...table.uses.slice(table.firstUse[row], table.firstUse[row]! + table.useCount[row]!),
  ]
  expect(usesOf(99)).toEqual(usesOf(0))
  expect(usesOf(100)).toEqual(usesOf(0).with(500, extents))
  for (let range = 0; range < table.count; range++) expect(usesOf(table.row[range]!)).toContain(range)
})

describe('DirectoryTable', () => {
  /** A tree of directories: how many bytes lie directly in each, whether one of its files shares, and what is below. */
  interface Tree {
    bytes: number
    shares: boolean
    below: Tree[]
  }
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.record({
      bytes: fc.nat(100),
      shares: fc.boolean(),
      below: fc.oneof({ maxDepth: 4 }, fc.constant<Tree[]>([]), fc.array(tie('tree'), { maxLength: 4 })),
    }),
  }))

  function fill(table: DirectoryTable, node: Tree, parent: number, name: string): number {
    const at = table.enter(parent, name)
    table.addFile(at, node.bytes, node.bytes, node.bytes)
    if (node.shares) table.sharing[at]! += 1
    node.below.forEach((child, i) => {
      fill(table, child, at, `${i}`)
    })
    table.leave(at)
    return at
  }
  const totalOf = (node: Tree): number => node.below.reduce((sum, child) => sum + totalOf(child), node.bytes)
  const sharesBelow = (node: Tree): boolean => node.shares || node.below.some(sharesBelow)
  const all = (node: Tree, path: string): [string, Tree][] => [
    [path, node],
    ...node.below.flatMap((child, i) => all(child, `${path}/${i}`)),
  ]

  test('keeps every directory above a sharing file and the largest others, with true sums', () => {
    fc.assert(
      fc.property(tree, fc.nat(6), (root, keep) => {
        const table = new DirectoryTable(keep)
        fill(table, root, NO_DIRECTORY, 'top')
        const kept = new Map([...table.kept()].map((at) => [table.path(at), at]))
        const nodes = new Map(all(root, 'top'))
        for (const [path, at] of kept) {
          expect(table.cached[at]).toBe(totalOf(nodes.get(path)!))
          expect(table.depth[at]).toBe(path.split('/').length - 1)
        }
        const isPrivate = ([path, node]: [string, Tree]) => path !== 'top' && !sharesBelow(node)
        for (const entry of nodes) if (!isPrivate(entry)) expect(kept.has(entry[0])).toBe(true)
        const privates = [...nodes].filter(isPrivate)
        const keptPrivates = privates.filter(([path]) => kept.has(path))
        expect(keptPrivates).toHaveLength(Math.min(keep, privates.length))
        // None that was forgotten is larger than one that was kept.
        const smallest = Math.min(...keptPrivates.map(([, node]) => totalOf(node)))
        for (const [path, node] of privates) if (!kept.has(path)) expect(totalOf(node)).toBeLessThanOrEqual(smallest)
      }),
      { numRuns: 300 },
    )
  })

  test('finds the innermost common directory', () => {
    const table = new DirectoryTable()
    const a = table.enter(NO_DIRECTORY, 'a')
    const b = table.enter(a, 'b')
    const c = table.enter(b, 'c')
    const d = table.enter(a, 'd')
    const other = table.enter(NO_DIRECTORY, 'other')
    expect(table.common(c, d)).toBe(a)
    expect(table.common(b, c)).toBe(b)
    expect(table.common(c, c)).toBe(c)
    expect(table.common(c, other)).toBe(NO_DIRECTORY)
  })

  test('rollUp gives each directory what its files have', () => {
    const table = new DirectoryTable()
    const files = new FileTable()
    const a = table.enter(NO_DIRECTORY, 'a')
    const b = table.enter(a, 'b')
    const facts = { name: 'f', device: 1, ino: 1, stamp: 0, size: 0, allocated: 0, cached: 0, pieces: 1 }
    for (const directory of [a, b, b]) files.shared[files.add({ ...facts, directory })] = 10
    table.rollUp(files)
    expect([table.shared[a], table.shared[b]]).toEqual([30, 20])
  })
})

test('GroupTable names the member with most in memory, and where all are', () => {
  const directories = new DirectoryTable()
  const top = directories.enter(NO_DIRECTORY, 'top')
  const inner = directories.enter(top, 'inner')
  const files = new FileTable()
  const add = (directory: number, cached: number, size: number) =>
    files.add({ directory, name: 'f', device: 1, ino: 1, stamp: 0, size, allocated: 1, cached, pieces: 1 })
  const [a, b, c, alone] = [add(inner, 0, 10), add(inner, 5, 5), add(top, 5, 7), add(top, 99, 99)]
  files.join(c, b)
  files.join(b, a)
  files.groupShared[b] = 4096
  const groups = new GroupTable(files, directories)
  const [group, ...others] = [...groups.all()]
  expect(others).toEqual([])
  expect(groups.members[group!]).toBe(3)
  expect(groups.largest[group!]).toBe(c)
  expect(groups.directory[group!]).toBe(top)
  expect(groups.cached[group!]).toBe(10)
  expect(files.groupOf(alone)).toBe(alone)
})

test('joinPath keeps one slash at the root', () => {
  expect(joinPath(['/', 'a', 'b'])).toBe('/a/b')
  expect(joinPath(['/'])).toBe('/')
  expect(joinPath(['a', 'b'])).toBe('a/b')
})
