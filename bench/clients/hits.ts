/** Hits of 4 KiB at random: copies beside fs.readSync of a page that the kernel has cached, views, and what garbage a hit leaves. */
import fs from 'node:fs'
import { getHeapStatistics } from 'node:v8'
import { PageCache } from '../../src/library/page-cache.ts'
import type { HitsAnswer, HitsTask } from '../client.ts'
import { spreadOf } from '../figure.ts'
import { warm } from '../files.ts'
import { answer, inTurns, randomBelow, task } from './support.ts'

const PAGE_BYTES = 4096
const PER_ROUND = 1 << 17
const GARBAGE_HITS = 1_000_000
/** What these could leave fits into the young generation: most of the time no collection comes between two looks. */
const GARBAGE_BATCH = 10_000

const { file: path, rounds } = task<HitsTask>()
const { size } = fs.statSync(path)
const positions = randomBelow(size / PAGE_BYTES, PER_ROUND).map((page) => page * PAGE_BYTES)
const buffer = Buffer.alloc(PAGE_BYTES)
const fd = fs.openSync(path, 'r')
await using cache = await PageCache.create({ memory: 1.1 * size + 2 ** 20 })
await using file = await cache.open(path)
await file.advise('willneed')
warm(path)

function copies(): number {
  let bytes = 0
  for (let i = 0; i < PER_ROUND; i++) bytes += file.readSync(buffer, { position: positions[i]! })
  return bytes / PAGE_BYTES
}

function nativeCopies(): number {
  let bytes = 0
  for (let i = 0; i < PER_ROUND; i++) bytes += fs.readSync(fd, buffer, 0, PAGE_BYTES, positions[i]!)
  return bytes / PAGE_BYTES
}

function views(): number {
  let bytes = 0
  for (let i = 0; i < PER_ROUND; i++) {
    const view = file.viewSync(positions[i]!, PAGE_BYTES)
    bytes += view.bytes.length
    view.dispose()
  }
  return bytes / PAGE_BYTES
}

/** Bytes that a hit leaves for the garbage collector. The options are the caller's, who can use them again. */
function garbagePerHit(): number {
  const options = { position: 0 }
  const grown: number[] = []
  for (let done = 0; done < GARBAGE_HITS; done += GARBAGE_BATCH) {
    const before = getHeapStatistics().used_heap_size
    for (let i = 0; i < GARBAGE_BATCH; i++) {
      options.position = positions[i]!
      file.readSync(buffer, options)
    }
    grown.push(getHeapStatistics().used_heap_size - before)
  }
  // A look at the heap takes some itself, less than a byte for each hit; and no object is as small as that.
  return Math.floor(spreadOf(grown).median / GARBAGE_BATCH)
}

const copied = await inTurns(rounds, { samepage: copies, 'fs.readSync': nativeCopies })
const viewed = await inTurns(rounds, { samepage: views })
answer({ copied, viewed, garbagePerHit: garbagePerHit() } satisfies HitsAnswer)
