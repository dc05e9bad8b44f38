// Worker threads hit in one cache, without asking the thread that made it. Usage: node examples/03-threads.mjs [FILE]
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { PageCache } from 'samepage-cache'

const PAGE = 4096
const PAGES = 1000

if (isMainThread) {
  // A large file that is everywhere.
  const name = process.argv[2] ?? process.execPath
  const cache = await PageCache.create({ memory: '64MiB' })
  try {
    const file = await cache.open(name)
    await file.advise('willneed', 0, PAGES * PAGE)
    const workers = Array.from({ length: 3 }, () => {
      // One handle for one thread.
      const handle = cache.handle()
      return new Worker(new URL(import.meta.url), {
        workerData: { name, handle },
        transferList: [...handle.transferList],
      })
    })
    const hits = await Promise.all(
      workers.map((worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))),
    )
    console.log('hits in the workers:', hits.join(', '))
    console.log(`read from the disk: ${cache.stats().bytesLoaded / PAGE} pages, once for all threads`)
    await file.close()
  } finally {
    await cache.close()
  }
} else {
  const cache = await PageCache.attach(workerData.handle)
  const file = await cache.open(workerData.name)
  const buffer = Buffer.alloc(PAGE)
  let hits = 0
  for (let page = 0; page < PAGES; page++) {
    if (file.tryRead(buffer, { position: page * PAGE }) === PAGE) hits++
  }
  await file.close()
  await cache.close()
  parentPort?.postMessage(hits)
}
