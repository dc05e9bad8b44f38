/** Caches that hold all there is to look up, as the keeper makes them: without files, for what comes before the bytes. */

import { Lookup } from '../../src/cache/lookup.ts'
import { allocateMemory, type CacheMemory } from '../../src/cache/memory.ts'
import { PageKeeper } from '../../src/cache/page-keeper.ts'
import { ReuseClock } from '../../src/cache/reclaim/reuse-clock.ts'
import { Arena } from '../../src/library/arena.ts'
import { FileLayout } from '../../src/library/layout.ts'
import { PageReader } from '../../src/library/page-reader.ts'
import { adviseHugePages } from '../../src/linux/memory.ts'

const PAGE_BYTES = 4096

/** A cache with room for `pages` pages of `mappings` mappings. */
export function emptyCache(pages: number, mappings: number): { memory: CacheMemory; keeper: PageKeeper } {
  const nodes = Math.ceil(pages / 32) + 4 * mappings + 256
  const memory = allocateMemory({ frames: pages, nodes, mappings: mappings + 1, threads: 4, pinsPerThread: 64 })
  // As PageCache does.
  for (const part of [memory.frames, memory.nodes]) adviseHugePages(part)
  // What the indexes take is not to cost pages here.
  const keeper = new PageKeeper(memory, (frames) => new ReuseClock(pages, frames), 2 * pages * PAGE_BYTES + nodes * 512)
  return { memory, keeper }
}

/** Pages [0, `pages`) of a mapping are in memory from now on. */
export function fill(keeper: PageKeeper, mapping: number, pages: number): void {
  for (let page = 0; page < pages; page++) keeper.publish(keeper.reserve(mapping, page), true)
}

/** What looks up the pages of one mapping, as a read of a file does that shares nothing: returns how many of those in `order` are in memory. */
export function pageFinder(memory: CacheMemory, mapping: number): (order: Int32Array) => number {
  const lookup = new Lookup(memory, process.arch !== 'x64')
  const reader = new PageReader(lookup, Arena.create(1, undefined))
  const layout = new FileLayout({ mapping, version: 0 })
  return (order) => {
    let found = 0
    for (let i = 0; i < order.length; i++) {
      const frame = reader.find(layout, order[i]!)
      // In the place of a copy between the two.
      if (frame >= 0 && lookup.isStill(frame, lookup.generation)) found++
    }
    return found
  }
}
