/** A thread that reads pages of a file over and over, and complains of wrong bytes. */
import { parentPort, workerData } from 'node:worker_threads'
import { PageCache } from '../../../src/library/page-cache.ts'
import { PAGE, pageContent } from './cached.ts'

const { handle, path, file, pages, rounds } = workerData
await using cache = await PageCache.attach(handle)
await using cached = await cache.open(path)
const contents = Array.from({ length: pages }, (_, page) => pageContent(file, page))
const buffer = Buffer.alloc(PAGE)
let wrong = 0
for (let round = 0; round < rounds; round++) {
  for (let page = 0; page < pages; page++) {
    if (cached.tryRead(buffer, { position: page * PAGE }) === undefined)
      await cached.read(buffer, { position: page * PAGE })
    if (!buffer.equals(contents[page]!)) wrong++
  }
  await new Promise(setImmediate)
}
parentPort!.postMessage(wrong)
