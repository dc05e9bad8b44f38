/**
 * Looking again at a file that is written while it lies in homes: which of its pages are no longer those of its homes?
 *
 * The mount's own writes are known. Others are found by extents: a page that somebody rewrote lies elsewhere than its home, and stays there as long
 * as the home holds the block. Whatever is in doubt counts as changed; then it is read from the file itself, which is always right. Who writes
 * while this looks is not waited for: a change that was complete when it began is found.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { RunMap } from '../cache/run-map.ts'
import type { HomeStorage, SourceFile } from './home-storage.ts'
import { type Hint, type HomeOfProof, type ProvedRun, proveStretch, rangesByHome } from './proof.ts'

/** Bytes [start, end) of a file. */
export type ByteRange = readonly [start: number, end: number]

const ATTEMPTS = 3

/**
 * The ranges of `map` that `file`, now `size` bytes long, may not have in common with its homes any more. `homeOf` gives a home by its number.
 * Rejects as the storage does.
 */
export async function findChanged<File extends SourceFile, HomeFile>(
  storage: HomeStorage<File, HomeFile>,
  file: File,
  size: number,
  map: RunMap,
  homeOf: (number: number) => HomeOfProof<HomeFile> | undefined,
  extentsMax: number,
): Promise<ByteRange[]> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const reuseCounter = await storage.reuseCounter?.(file)
    const extents = await storage.extents(file, 0, size, extentsMax)
    const stretches = stretchesOf(map, size, homeOf)
    const equal: ProvedRun<HomeOfProof<HomeFile>>[] = []
    for (const [home, [start, end]] of rangesByHome(stretches)) {
      const ofHome = await storage.homeExtents(home.file, start, end - start)
      for (const stretch of stretches) {
        if (stretch.home === home) equal.push(...proveStretch(stretch, extents, ofHome, extents, size))
      }
    }
    // A freed block may have become somebody else's between the two looks: equal places then prove nothing.
    if ((await storage.reuseCounter?.(file)) === reuseCounter) return without(map, equal)
  }
  return [[0, map.sizeBytes]]
}

/** The runs of the map, as far as file and home go now. */
function stretchesOf<HomeFile>(
  map: RunMap,
  size: number,
  homeOf: (number: number) => HomeOfProof<HomeFile> | undefined,
): Hint<HomeOfProof<HomeFile>>[] {
  const stretches: Hint<HomeOfProof<HomeFile>>[] = []
  for (let i = 0; i < map.runCount; i++) {
    const { filePage, pageCount, home: number, homePage } = map.run(i)
    const home = homeOf(number)
    if (home === undefined) continue
    const start = filePage * PAGE_BYTES
    const shift = (homePage - filePage) * PAGE_BYTES
    const end = Math.min((filePage + pageCount) * PAGE_BYTES, size, home.size - shift)
    if (end > start) stretches.push({ home, start, end, shift, physical: 0 })
  }
  return stretches
}

/** What lies in runs of the map and not in those that are `equal`. */
function without(map: RunMap, equal: ProvedRun<unknown>[]): ByteRange[] {
  const changed: ByteRange[] = []
  equal.sort((a, b) => a.filePage - b.filePage)
  let next = 0
  for (let i = 0; i < map.runCount; i++) {
    const { filePage, pageCount } = map.run(i)
    const end = filePage + pageCount
    let from = filePage
    for (; next < equal.length && equal[next]!.filePage < end; next++) {
      const { filePage: page, pageCount: pages } = equal[next]!
      if (page > from) changed.push([from * PAGE_BYTES, page * PAGE_BYTES])
      from = page + pages
    }
    if (from < end) changed.push([from * PAGE_BYTES, end * PAGE_BYTES])
  }
  return changed
}
