/** A thread on a node that reads pages whose every byte is their version's number, modulo 256, and complains of versions that were replaced before it began. */
import { parentPort, workerData } from 'node:worker_threads'
import { PageCache } from '../../../src/library/page-cache.ts'
import { runOn } from './affinity.ts'
import { PAGE } from './cached.ts'

const { handle, node, path, pages } = workerData
const versions: Int32Array = workerData.versions
runOn(node)
await using cache = await PageCache.attach(handle)
await using file = await cache.open(path)
const buffer = Buffer.alloc(PAGE)
const contents = Array.from({ length: 256 }, (_, byte) => Buffer.alloc(PAGE, byte))
const wrong: string[] = []
let reads = 0
parentPort!.postMessage('ready')
/** The last word says when to stop. */
while (Atomics.load(versions, pages) === 0) {
  for (let i = 0; i < 20 * pages; i++) {
    const page = i % pages
    const before = Atomics.load(versions, page)
    if (file.tryRead(buffer, { position: page * PAGE }) === undefined) {
      await file.read(buffer, { position: page * PAGE })
    }
    reads++
    // One write may be done, or be under way, that is not told of yet; then it may be seen in part.
    const after = Atomics.load(versions, page)
    if (before === 0 || before !== after || buffer.equals(contents[before & 0xff]!)) continue
    const next = (before + pages) & 0xff
    if (!buffer.every((byte) => byte === (before & 0xff) || byte === next))
      wrong.push(`page ${page}: ${buffer[0]} and ${buffer[PAGE - 1]} at version ${before}`)
  }
  await new Promise(setImmediate)
}
parentPort!.postMessage({ reads, wrong: wrong.slice(0, 5) })
