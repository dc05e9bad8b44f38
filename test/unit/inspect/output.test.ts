import { expect, test } from 'vitest'
import { broken, toText } from '../../../src/cli/inspect-text.ts'
import { toCsv } from '../../../src/inspect/csv.ts'
import { DirectoryTable, NO_DIRECTORY } from '../../../src/inspect/directories.ts'
import { FileTable } from '../../../src/inspect/files.ts'
import { toHtml } from '../../../src/inspect/html.ts'
import { toJson } from '../../../src/inspect/json.ts'
import type { Measurement } from '../../../src/inspect/measure.ts'
import { buildReport } from '../../../src/inspect/report.ts'
import { noSums } from '../../../src/inspect/sweep.ts'
import { treemapTiles } from '../../../src/inspect/treemap.ts'

const MEBIBYTE = 2 ** 20

/** A measurement of top/{a/{b,c},d}, with the given MiB directly in each. */
function measurementOf(own: { top: number; a: number; b: number; c: number; d: number }): Measurement {
  const directories = new DirectoryTable()
  const fill = (name: keyof typeof own, parent: number, below: (at: number) => void = () => {}): void => {
    const at = directories.enter(parent, name)
    directories.addFile(at, own[name] * MEBIBYTE, own[name] * MEBIBYTE, own[name] * MEBIBYTE)
    below(at)
    directories.leave(at)
  }
  fill('top', NO_DIRECTORY, (top) => {
    fill('a', top, (a) => {
      fill('b', a)
      fill('c', a)
    })
    fill('d', top)
  })
  return {
    options: { paths: ['top'], include: [], exclude: [], xdev: false, sync: false },
    counts: { others: 0, directories: 5, hardLinks: 0, unreadable: 0, vanished: 0 },
    ...{ fileCount: 5, size: 0, allocated: 0, cached: 0, directFiles: 0, directAllocated: 0 },
    ...{ incomparable: 0, unstable: 0 },
    ...{ changedFiles: 0, changedDirectories: 0, residencyUnknown: 0, sharingUnknown: 0, sums: noSums() },
    ...{ directories, files: new FileTable(), filesystems: [], leftOut: [], unreadable: [], failed: [] },
    ...{ startedAt_ms: 0, walk_ms: 1, sweep_ms: 1 },
  }
}

test('areas of the map are in proportion, and lie within their directory', () => {
  const measurement = measurementOf({ top: 100, a: 0, b: 300, c: 100, d: 500 })
  const { directories } = measurement
  const tiles = treemapTiles(measurement, { area: directories.cached, surplus: directories.duplicate })
  const named = new Map(tiles.map((tile) => [tile.isRest ? `${tile.path}/*` : tile.path, tile]))
  expect([...named.keys()].sort()).toEqual(['top', 'top/*', 'top/a', 'top/a/b', 'top/a/c', 'top/d'])
  const bytes = (path: string) => named.get(path)!.area / MEBIBYTE
  expect(['top', 'top/*', 'top/a', 'top/a/b', 'top/d'].map(bytes)).toEqual([1000, 100, 400, 300, 500])
  const size = (path: string) => named.get(path)!.width * named.get(path)!.height
  // Gaps and headings take some of it.
  expect(size('top/d') / size('top/*')).toBeGreaterThan(4)
  expect(size('top/d') / size('top/*')).toBeLessThan(6.5)
  for (const [path, tile] of named) {
    const outer = named.get(tile.isRest ? tile.path : path.slice(0, path.lastIndexOf('/')))
    if (outer === undefined) continue
    expect(tile.left).toBeGreaterThanOrEqual(outer.left)
    expect(tile.top).toBeGreaterThanOrEqual(outer.top)
    expect(tile.left + tile.width).toBeLessThanOrEqual(outer.left + outer.width + 1e-9)
    expect(tile.top + tile.height).toBeLessThanOrEqual(outer.top + outer.height + 1e-9)
  }
})

test('nothing in memory: no map, and the page says so', () => {
  const measurement = measurementOf({ top: 0, a: 0, b: 0, c: 0, d: 0 })
  const { directories } = measurement
  expect(treemapTiles(measurement, { area: directories.cached, surplus: directories.duplicate })).toEqual([])
  const report = buildReport(measurement, 10, null)
  expect(toHtml(measurement, report)).toContain('Nothing of these trees is in memory now.')
  expect(report.directories).toEqual([])
  expect(toText(report, { color: false, width: 80 })).toContain('no file shares storage with another')
})

test('a directory that holds everything of another stands for it', () => {
  const report = buildReport(measurementOf({ top: 0, a: 0, b: 5, c: 0, d: 0 }), 10, null)
  expect(report.directories.map(({ path }) => path)).toEqual(['top/a/b'])
})

test('CSV quotes what needs it', () => {
  const report = buildReport(measurementOf({ top: 1, a: 0, b: 0, c: 0, d: 0 }), 10, null)
  report.directories[0]!.path = 'a,"b"\nc'
  expect([...toCsv(report, true)].join('')).toContain('directory,"a,""b""\nc",5,,1048576,')
})

test('JSON in pieces is JSON as a whole, on one line or many', () => {
  const report = buildReport(measurementOf({ top: 100, a: 0, b: 300, c: 100, d: 500 }), 10, null)
  report.directories[0]!.path = 'a"\n'
  for (const indent of [0, 2] as const) {
    expect([...toJson(report, indent)].join('')).toBe(JSON.stringify(report, null, indent))
  }
})

test('sentences are broken between words', () => {
  expect(broken('one two three', 7)).toEqual(['one two', 'three'])
  expect(broken('incomprehensibilities are long', 5)).toEqual(['incomprehensibilities', 'are', 'long'])
  expect(broken('one two three', Number.POSITIVE_INFINITY)).toEqual(['one two three'])
})
