/** A thread on a node: reads pages of a file, and tells where they lie. */
import { parentPort, workerData } from 'node:worker_threads'
import { PageCache } from '../../../src/library/page-cache.ts'
import { runOn } from './affinity.ts'
import { PAGE, pageContent, placement } from './cached.ts'

const { handle, node, path, file, first, count } = workerData
runOn(node)
await using cache = await PageCache.attach(handle)
await using cached = await cache.open(path)
await cached.advise('random')
const buffer = Buffer.alloc(PAGE)
for (let page = first; page < first + count; page++) {
  await cached.read(buffer, { position: page * PAGE })
  if (!buffer.equals(pageContent(file, page))) throw new Error(`page ${page} has wrong bytes`)
}
parentPort!.postMessage(placement(cached, first, count))
