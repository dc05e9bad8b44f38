/** What it takes to change a page that many files share: to evict a home's page, and to write to one of many clones. */
import path from 'node:path'
import type { CachedFile } from '../../src/library/cached-file.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import type { SharersAnswer, SharersTask } from '../client.ts'
import { emptyCache, fill } from './full-cache.ts'
import { answer, task } from './support.ts'

const PAGE_BYTES = 4096

const { sharers, pages, directory } = task<SharersTask>()
answer({ evicted: evictShared(), broken: await breakShares() } satisfies SharersAnswer)

/**
 * Nanoseconds for each page of a home that is given up while `sharers` files have short cuts to it. All short cuts are made before: they would leave the processor's caches in
 * another state with many sharers than with one.
 */
function evictShared(): number[] {
  const warmUp = pages
  const { keeper } = emptyCache(warmUp + 2 * pages, sharers + 1)
  const home = keeper.mappings.create()
  fill(keeper, home, warmUp + 2 * pages)
  const files = Array.from({ length: sharers }, () => keeper.mappings.create())
  for (let page = 0; page < warmUp + 2 * pages; page++) {
    const frame = keeper.frameOf(home, page)
    for (const file of files) keeper.share(file, page, frame, keeper.frames.generation(frame))
  }
  const took = Array.from({ length: warmUp + 2 * pages }, (_, page) =>
    nanoseconds(() => keeper.drop(home, page, page + 1)),
  )
  return took.slice(warmUp)
}

/** Nanoseconds for each page that is written in one clone, f0, while `sharers` of them are open and have been read. */
async function breakShares(): Promise<number[]> {
  // One descriptor for each open file instead of two: ten thousand are half of what many systems let a process have.
  const options = { direct: false, minShareBytes: PAGE_BYTES, yieldUnderPressure: false }
  await using cache = await PageCache.create({ memory: '256MiB', ...options })
  const buffer = Buffer.alloc(pages * PAGE_BYTES)
  const clones: CachedFile[] = []
  for (let i = 0; i < sharers; i++) {
    const clone = await cache.open(path.join(directory, `f${i}`), i === 0 ? 'r+' : 'r')
    await clone.read(buffer, { position: 0 })
    clones.push(clone)
  }
  const bytes = Buffer.alloc(PAGE_BYTES, 'written')
  const took = Array.from({ length: pages }, (_, page) =>
    nanoseconds(() => clones[0]!.writeSync(bytes, { position: page * PAGE_BYTES })),
  )
  for (const clone of clones) await clone.close()
  return took
}

function nanoseconds(work: () => void): number {
  const began = process.hrtime.bigint()
  work()
  return Number(process.hrtime.bigint() - began)
}
