import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ENTRY_KINDS, EntryKind, PAGE_BYTES } from '../../../src/cache/entry.ts'
import { PieceWalk } from '../../../src/cache/resolve.ts'
import { OWN, type Run, RunMap } from '../../../src/cache/run-map.ts'

/** Files of up to 60 pages whose runs are given by gaps and lengths; a run may continue its predecessor. */
const file = fc
  .record({
    parts: fc.array(
      fc.record({
        gap: fc.nat(2),
        pageCount: fc.integer({ min: 1, max: 5 }),
        home: fc.nat(2),
        homePage: fc.option(fc.nat(9), { nil: undefined }),
      }),
      { maxLength: 12 },
    ),
    tailPages: fc.nat(3),
    cut: fc.nat(PAGE_BYTES - 1),
  })
  .map(({ parts, tailPages, cut }) => {
    const runs: Run[] = []
    let at = 0
    for (const { gap, pageCount, home, homePage } of parts) {
      const last = runs.at(-1)
      at += gap
      const continued = last === undefined ? 0 : last.homePage + (at - last.filePage)
      runs.push({ filePage: at, pageCount, home, homePage: homePage ?? continued })
      at += pageCount
    }
    const pages = at + tailPages
    return { runs, sizeBytes: Math.max(0, pages * PAGE_BYTES - (pages > 0 ? cut : 0)) }
  })

/** Where the byte is, by looking at every run. */
function byModel(runs: readonly Run[], offset: number): { home: number; offset: number } {
  const page = Math.floor(offset / PAGE_BYTES)
  const run = runs.find((r) => r.filePage <= page && page < r.filePage + r.pageCount)
  if (run === undefined) return { home: OWN, offset }
  return { home: run.home, offset: offset + (run.homePage - run.filePage) * PAGE_BYTES }
}

describe('RunMap', () => {
  it('finds every byte where a plain search finds it, in whatever order it is asked', () => {
    fc.assert(
      fc.property(
        file,
        fc.array(fc.nat(62 * PAGE_BYTES), { minLength: 1, maxLength: 40 }),
        ({ runs, sizeBytes }, offsets) => {
          const map = RunMap.attach(RunMap.build(runs, sizeBytes).buffer)
          map.checkInvariants()
          for (const offset of offsets) {
            map.seek(offset)
            if (offset >= sizeBytes) {
              expect(map.length).toBe(0)
              continue
            }
            expect({ home: map.home, offset: map.offset }).toEqual(byModel(runs, offset))
            expect(map.kind).toBe(map.home === OWN ? EntryKind.OWN : EntryKind.HOME_RUN)
            // The piece is not empty, all of it is where its first byte says, and it is as long as it can be.
            expect(map.length).toBeGreaterThan(0)
            const end = offset + map.length
            expect(end).toBeLessThanOrEqual(sizeBytes)
            expect(byModel(runs, end - 1)).toEqual({ home: map.home, offset: map.offset + map.length - 1 })
            if (end < sizeBytes) {
              expect(end % PAGE_BYTES).toBe(0)
              const next = byModel(runs, end)
              expect(next.home === map.home && next.offset === map.offset + map.length).toBe(false)
            }
          }
        },
      ),
      { numRuns: 500 },
    )
  })

  it('walks a read into pieces that are together just the read', () => {
    fc.assert(
      fc.property(file, fc.nat(62 * PAGE_BYTES), fc.nat(20 * PAGE_BYTES), ({ runs, sizeBytes }, offset, length) => {
        const map = RunMap.build(runs, sizeBytes)
        const walk = new PieceWalk()
        walk.start(map, offset, length)
        let at = offset
        while (walk.next()) {
          expect(walk.done).toBe(at - offset)
          expect(walk.length).toBeGreaterThan(0)
          expect({ home: walk.home, offset: walk.offset }).toEqual(byModel(runs, at))
          // Other reads of the same map come in between.
          map.seek((at * 7919) % (sizeBytes + 1))
          at += walk.length
        }
        expect(at).toBe(Math.max(offset, Math.min(offset + length, sizeBytes)))
        expect(walk.next()).toBe(false)
      }),
      { numRuns: 500 },
    )
  })

  it('serves the last, partial page of a file up to its end', () => {
    const map = RunMap.build([{ filePage: 1, pageCount: 2, home: 4, homePage: 7 }], 2 * PAGE_BYTES + 10)
    map.seek(PAGE_BYTES)
    expect([map.home, map.offset, map.length]).toEqual([4, 7 * PAGE_BYTES, PAGE_BYTES + 10])
    map.seek(2 * PAGE_BYTES + 10)
    expect(map.length).toBe(0)
    expect(map.runBytes()).toBe(PAGE_BYTES + 10)
  })

  it('is of one run where a file lies in one home as a whole', () => {
    const map = RunMap.whole(4, 2 * PAGE_BYTES + 10)
    expect(map.runCount).toBe(1)
    expect(map.run(0)).toEqual({ filePage: 0, pageCount: 3, home: 4, homePage: 0 })
    expect(map.runBytes()).toBe(2 * PAGE_BYTES + 10)
  })

  it('tells how many bytes of the file lie in each home', () => {
    const map = RunMap.build(
      [
        { filePage: 0, pageCount: 3, home: 4, homePage: 0 },
        { filePage: 5, pageCount: 2, home: 1, homePage: 0 },
        { filePage: 8, pageCount: 2, home: 4, homePage: 7 },
      ],
      9 * PAGE_BYTES + 10,
    )
    expect([...map.bytesByHome()]).toEqual([
      [4, 4 * PAGE_BYTES + 10],
      [1, 2 * PAGE_BYTES],
    ])
  })

  it('merges runs that continue each other, and only those', () => {
    const map = RunMap.build(
      [
        { filePage: 0, pageCount: 2, home: 1, homePage: 5 },
        { filePage: 2, pageCount: 2, home: 1, homePage: 7 },
        { filePage: 4, pageCount: 1, home: 2, homePage: 9 },
        { filePage: 5, pageCount: 1, home: 2, homePage: 11 },
      ],
      6 * PAGE_BYTES,
    )
    expect(Array.from({ length: map.runCount }, (_, i) => map.run(i))).toEqual([
      { filePage: 0, pageCount: 4, home: 1, homePage: 5 },
      { filePage: 4, pageCount: 1, home: 2, homePage: 9 },
      { filePage: 5, pageCount: 1, home: 2, homePage: 11 },
    ])
  })

  it('splits what is longer than a run can be, without losing a page', () => {
    const pageCount = 2 ** 32 + 3
    const map = RunMap.build([{ filePage: 0, pageCount, home: 0, homePage: 2 }], pageCount * PAGE_BYTES)
    expect(map.runBytes()).toBe(pageCount * PAGE_BYTES)
    map.seek((pageCount - 1) * PAGE_BYTES)
    expect([map.home, map.offset, map.length]).toEqual([0, (pageCount + 1) * PAGE_BYTES, PAGE_BYTES])
  })

  it('throws on runs that are no map, and shows them', () => {
    const good = { filePage: 2, pageCount: 2, home: 0, homePage: 0 }
    const size = 10 * PAGE_BYTES
    const bad: Run[][] = [
      [good, { ...good, filePage: 3 }],
      [good, { ...good, filePage: 0 }],
      [{ ...good, pageCount: 0 }],
      [{ ...good, filePage: -1 }],
      [{ ...good, homePage: 0.5 }],
      [{ ...good, home: -1 }],
      [{ ...good, filePage: 9 }],
    ]
    expect(RunMap.build([good], size).runCount).toBe(1)
    for (const runs of bad) expect(() => RunMap.build(runs, size)).toThrow(/breaks the map:\nRunMap of a file/)
  })

  it('refuses a buffer that is none', () => {
    expect(() => RunMap.attach(new SharedArrayBuffer(64))).toThrow(/no RunMap/)
  })

  it('is read by another thread without a copy', async () => {
    const map = RunMap.build([{ filePage: 0, pageCount: 1, home: 3, homePage: 8 }], PAGE_BYTES)
    // The layout is drawn in run-map.ts: n, the size, then the columns.
    const code = `
      const { workerData, parentPort } = require('node:worker_threads')
      parentPort.postMessage([
        new Int32Array(workerData, 4, 1)[0], new Float64Array(workerData, 8, 1)[0],
        new Float64Array(workerData, 24, 1)[0], new Int32Array(workerData, 36, 1)[0],
      ])`
    const worker = new Worker(code, { eval: true, workerData: map.buffer })
    expect(await new Promise((resolve) => worker.once('message', resolve))).toEqual([1, PAGE_BYTES, 8, 3])
    await worker.terminate()
  })
})

describe('the table of entry kinds', () => {
  it('has a row for every kind, numbered from 0 on', () => {
    const kinds = Object.values(EntryKind)
    expect(Object.keys(ENTRY_KINDS).map(Number)).toEqual(kinds)
    expect(kinds).toEqual(kinds.map((_, i) => i))
    expect(ENTRY_KINDS[EntryKind.HOME_RUN].name).toBe('home run')
  })
})
