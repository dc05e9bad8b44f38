/** Asks a cache for the pages of a file, one after the other, misses included: Samepage's, or lru-cache with a Buffer for each page. */
import fs from 'node:fs'
import { LRUCache } from 'lru-cache'
import { processBytes } from '../../src/demo/measure.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import type { ReplayAnswer, ReplayTask } from '../client.ts'
import { sequenceOf } from './accesses.ts'
import { answer, task } from './support.ts'

const PAGE_BYTES = 4096

const { side, file: path, accesses, way, pages } = task<ReplayTask>()
const { order } = sequenceOf(accesses)
const buffer = Buffer.alloc(PAGE_BYTES)
const replay = side === 'samepage' ? replaySamepage : replayLru
answer({ ...(await replay()), count: order.length, residentBytes: processBytes(process.pid) } satisfies ReplayAnswer)

async function replaySamepage(): Promise<Timed> {
  const cache = await PageCache.create({ memory: pages * PAGE_BYTES, direct: false, yieldUnderPressure: false })
  const file = await cache.open(path)
  await file.advise('random')
  const seconds = timed((page) => {
    const position = page * PAGE_BYTES
    if (way === 'copy') return file.readSync(buffer, { position }) + buffer[0]!
    const view = file.viewSync(position, PAGE_BYTES)
    const byte = view.bytes[0]!
    view.dispose()
    return byte
  })
  return { seconds, misses: cache.stats().bytesLoaded / PAGE_BYTES }
}

async function replayLru(): Promise<Timed> {
  const cache = new LRUCache<number, Buffer>({ max: pages })
  const fd = fs.openSync(path, 'r')
  let misses = 0
  const seconds = timed((page) => {
    let bytes = cache.get(page)
    if (bytes === undefined) {
      misses++
      bytes = Buffer.allocUnsafe(PAGE_BYTES)
      fs.readSync(fd, bytes, 0, PAGE_BYTES, page * PAGE_BYTES)
      cache.set(page, bytes)
    }
    if (way === 'view') return bytes[0]!
    buffer.set(bytes)
    return buffer[0]!
  })
  return { seconds, misses }
}

type Timed = Pick<ReplayAnswer, 'seconds' | 'misses'>

/** Seconds that all accesses take. */
function timed(access: (page: number) => number): number {
  const began = performance.now()
  let sum = 0
  for (let i = 0; i < order.length; i++) sum += access(order[i]!)
  if (Number.isNaN(sum)) throw new Error('not all bytes were read')
  return (performance.now() - began) / 1000
}
