/** Pages that are read often from another node get replicas there; and whatever happens to a page, no reader gets old bytes of it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { CachedFile } from '../../src/library/cached-file.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import { runOn } from './rig/affinity.ts'
import { PAGE, pageContent, placement, readPages, writeFile } from './rig/cached.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGES = 48
const options = { memory: '16MiB', numa: 'replicate', yieldUnderPressure: false, dax: 'cache' } as const

/** Reads on `node` until that has all pages near by, and no longer than that may take. */
function readOften(file: CachedFile, node: number): void {
  runOn(node)
  const buffer = Buffer.alloc(PAGE)
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 20 * PAGES; i++) file.tryRead(buffer, { position: (i % PAGES) * PAGE })
    if (placement(file, 0, PAGES).every((it) => it === node)) return
  }
}

guestTest('replicas are made on the node that reads, and are read there', async (note) => {
  await using cache = await PageCache.create(options)
  runOn(0)
  using file = cache.openSync(writeFile('/pmem/far', 1, PAGES))
  readPages(file, 1, 0, PAGES)
  const { bytesLoaded } = cache.stats()
  for (const node of [2, 1]) {
    readOften(file, node)
    assert.deepEqual(placement(file, 0, PAGES), new Array(PAGES).fill(node))
    readPages(file, 1, 0, PAGES)
  }
  const stats = cache.stats()
  assert.equal(stats.numa!.replicaBytes, 2 * PAGES * PAGE)
  assert.deepEqual(stats.numa!.bytesByNode, { 0: PAGES * PAGE, 1: PAGES * PAGE, 2: PAGES * PAGE })
  // Copied in memory, not read again.
  assert.equal(stats.bytesLoaded, bytesLoaded)
  runOn(0)
  readPages(file, 1, 0, PAGES)
  assert.deepEqual(placement(file, 0, PAGES), new Array(PAGES).fill(0))
  cache.checkInvariants()
  note(`${stats.numa!.replicasMade} replicas made for ${PAGES} pages on two nodes`)
})

guestTest('a write and a truncation give the replicas of their pages up first', async () => {
  await using cache = await PageCache.create(options)
  runOn(0)
  using file = cache.openSync(writeFile('/pmem/written', 2, PAGES), 'r+')
  readPages(file, 2, 0, PAGES)
  readOften(file, 2)
  file.writeSync(pageContent(9, 5), { position: 5 * PAGE })
  readPages(file, 2, 0, 5)
  readPages(file, 9, 5, 1)
  assert.equal(cache.stats().numa!.replicasCollapsed, 1)
  file.truncateSync(10 * PAGE)
  assert.equal(cache.stats().numa!.replicaBytes, 9 * PAGE)
  file.truncateSync(20 * PAGE)
  const buffer = Buffer.alloc(PAGE, 1)
  file.readSync(buffer, { position: 15 * PAGE })
  assert.ok(buffer.every((byte) => byte === 0))
  cache.checkInvariants()
  runOn(0)
})

guestTest('under pressure replicas go, and no page before them', async () => {
  await using cache = await PageCache.create(options)
  runOn(0)
  using file = cache.openSync(writeFile('/pmem/pressed', 3, PAGES))
  readPages(file, 3, 0, PAGES)
  readOften(file, 1)
  const before = cache.stats()
  assert.equal(before.numa!.replicaBytes, PAGES * PAGE)
  using view = file.viewSync(7 * PAGE, PAGE)
  cache.resize(Math.max(64, PAGES + 2) * PAGE + before.indexBytes)
  readPages(file, 3, 0, PAGES)
  assert.ok(pageContent(3, 7).equals(view.parts[0]!), 'a view of a replica that has gone')
  const after = cache.stats()
  assert.equal(after.bytesLoaded, before.bytesLoaded)
  assert.equal(after.evicted, 0)
  assert.ok(after.numa!.replicaBytes <= (64 - PAGES) * PAGE, `${after.numa!.replicaBytes} bytes of replicas`)
  cache.checkInvariants()
  runOn(0)
})

guestTest('in a full cache replicas take the place of pages that nobody reads, a few at a time', async (note) => {
  await using cache = await PageCache.create({ ...options, memory: 512 * PAGE })
  runOn(0)
  using hot = cache.openSync(writeFile('/pmem/hot', 4, PAGES))
  using cold = cache.openSync(writeFile('/pmem/cold', 5, 600))
  readPages(cold, 5, 0, 600)
  readPages(hot, 4, 0, PAGES)
  const { evicted: before } = cache.stats()
  readOften(hot, 2)
  const { evicted, numa } = cache.stats()
  assert.ok(
    numa!.replicaBytes >= 4 * PAGE && numa!.replicaBytes <= PAGES * PAGE,
    `${numa!.replicaBytes} bytes of replicas`,
  )
  assert.ok(evicted - before <= numa!.replicasMade, `${evicted - before} pages for ${numa!.replicasMade} replicas`)
  readPages(hot, 4, 0, PAGES)
  cache.checkInvariants()
  note(`${numa!.replicasMade} replicas, ${evicted - before} pages evicted for them`)
  runOn(0)
})

guestTest('readers on all nodes see each write that was complete when they began', async (note) => {
  await using cache = await PageCache.create(options)
  runOn(0)
  const pages = 8
  using file = cache.openSync(writeFile('/pmem/versions', 0, pages), 'r+')
  const versions = new Int32Array(new SharedArrayBuffer(4 * (pages + 1)))
  const workers = [1, 2].map((node) => {
    const handle = cache.handle()
    return new Worker(new URL('./rig/version-reader.js', import.meta.url), {
      workerData: { handle, node, path: '/pmem/versions', pages, versions },
      transferList: [...handle.transferList],
    })
  })
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  const ends = workers.map(async (worker) => (await once(worker, 'message'))[0] as { reads: number; wrong: string[] })
  const deadline = Date.now() + 12_000
  for (let version = 1; Date.now() < deadline; version++) {
    const page = version % pages
    await file.write(Buffer.alloc(PAGE, version & 0xff), { position: page * PAGE })
    Atomics.store(versions, page, version)
    const buffer = Buffer.alloc(PAGE)
    for (let i = 0; i < pages; i++) await file.read(buffer, { position: i * PAGE })
    // Time for replicas to be made.
    await new Promise((resolve) => setTimeout(resolve, version % 3 === 0 ? 700 : 5))
  }
  Atomics.store(versions, pages, 1)
  for (const { reads, wrong } of await Promise.all(ends)) {
    assert.deepEqual(wrong, [])
    assert.ok(reads > 1000, `${reads} reads`)
  }
  const { replicasMade, replicasCollapsed } = cache.stats().numa!
  assert.ok(replicasMade > 4 && replicasCollapsed > 4, `${replicasMade} made, ${replicasCollapsed} collapsed`)
  note(`${replicasMade} replicas made, ${replicasCollapsed} collapsed`)
  cache.checkInvariants()
  for (const name of fs.readdirSync('/pmem')) fs.rmSync(`/pmem/${name}`)
})
