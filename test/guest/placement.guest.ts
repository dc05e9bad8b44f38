/** Frames lie on the node of who asks for them. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import { Worker } from 'node:worker_threads'
import { PageCache } from '../../src/library/page-cache.ts'
import { runOn } from './rig/affinity.ts'
import { PAGE, placement, readPages, writeFile } from './rig/cached.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGES = 64
/** Too small for huge pages. */
const options = { memory: '60MiB', yieldUnderPressure: false, dax: 'cache' } as const

guestTest('without numa nothing is bound', async () => {
  await using cache = await PageCache.create(options)
  assert.equal(cache.stats().numa, undefined)
})

guestTest('pages lie on the node that asks for them, checked page by page', async () => {
  await using cache = await PageCache.create({ ...options, numa: 'replicate' })
  for (const node of [0, 1, 2]) {
    runOn(node)
    using file = cache.openSync(writeFile(`/pmem/of-${node}`, node, PAGES))
    await file.advise('random')
    readPages(file, node, 0, PAGES)
    assert.deepEqual(placement(file, 0, PAGES), new Array(PAGES).fill(node))
  }
  // What the kernel says of it as a whole.
  const { bytesByNode, nodesUnused } = cache.stats().numa!
  assert.deepEqual(bytesByNode, { 0: PAGES * PAGE, 1: PAGES * PAGE, 2: PAGES * PAGE })
  assert.deepEqual(nodesUnused, [])
  runOn(0)
})

guestTest('a full node is helped out by the nearest, the one without CPUs among them', async () => {
  const share = 128
  await using cache = await PageCache.create({ ...options, memory: 4 * share * PAGE, numa: 'replicate' })
  runOn(2)
  using file = cache.openSync(writeFile('/pmem/large', 7, 3 * share))
  await file.advise('random')
  readPages(file, 7, 0, 3 * share)
  const nodes = placement(file, 0, 3 * share)
  const count = (from: number, to: number) => nodes.filter((node) => node >= from && node <= to).length
  // All of its own, all of node 3's (distance 12), and of the others (20) the rest: shares are those of the nodes' memory, which are not quite equal.
  assert.ok(Math.abs(count(2, 2) - share) < share / 4, `${nodes}`)
  assert.ok(Math.abs(count(3, 3) - share) < share / 4, `${nodes}`)
  assert.ok(nodes.indexOf(3) > nodes.lastIndexOf(2) && nodes.indexOf(0) > nodes.lastIndexOf(3), `${nodes}`)
  runOn(0)
})

guestTest('in a full cache a page takes the place of one of the node that asks', async () => {
  const share = 128
  await using cache = await PageCache.create({ ...options, memory: 4 * share * PAGE, numa: 'replicate' })
  using large = cache.openSync(writeFile('/pmem/large', 7, 5 * share))
  await large.advise('random')
  readPages(large, 7, 0, 5 * share)
  for (const node of [1, 0, 2]) {
    runOn(node)
    using file = cache.openSync(writeFile(`/pmem/late-${node}`, node, PAGES))
    await file.advise('random')
    readPages(file, node, 0, PAGES)
    assert.deepEqual(placement(file, PAGES / 2, PAGES / 2), new Array(PAGES / 2).fill(node))
  }
  runOn(0)
})

guestTest('a large cache has huge pages, on each node', async () => {
  await using cache = await PageCache.create({ ...options, memory: '1GiB', numa: 'replicate' })
  for (const node of [0, 1, 2]) {
    runOn(node)
    using file = cache.openSync(writeFile(`/pmem/huge-${node}`, node, PAGES))
    readPages(file, node, 0, PAGES)
    assert.deepEqual(placement(file, 0, PAGES), new Array(PAGES).fill(node))
  }
  assert.deepEqual(cache.stats().numa!.bytesByNode, { 0: 2 ** 21, 1: 2 ** 21, 2: 2 ** 21 })
})

guestTest('threads get pages on their own node', async () => {
  await using cache = await PageCache.create({ ...options, numa: 'replicate' })
  writeFile('/pmem/threads', 3, 3 * PAGES)
  for (const node of [2, 1]) {
    const handle = cache.handle()
    const worker = new Worker(new URL('./rig/reader.js', import.meta.url), {
      workerData: { handle, node, path: '/pmem/threads', file: 3, first: node * PAGES, count: PAGES },
      transferList: [...handle.transferList],
    })
    const [nodes] = await once(worker, 'message')
    assert.deepEqual(nodes, new Array(PAGES).fill(node))
    await once(worker, 'exit')
  }
})

guestTest('a cache that shrinks gives the memory of every node back', async () => {
  await using cache = await PageCache.create({ ...options, numa: 'replicate' })
  using file = cache.openSync(writeFile('/pmem/shrinks', 4, 12 * PAGES))
  for (const node of [0, 1, 2]) {
    runOn(node)
    readPages(file, 4, node * 4 * PAGES, 4 * PAGES)
  }
  runOn(0)
  cache.resize(128 * PAGE)
  const bytes = Object.values(cache.stats().numa!.bytesByNode).reduce((sum, bytes) => sum + bytes, 0)
  assert.ok(bytes <= 128 * PAGE, `${bytes} bytes`)
  readPages(file, 4, 0, 12 * PAGES)
  cache.checkInvariants()
  for (const name of fs.readdirSync('/pmem')) fs.rmSync(`/pmem/${name}`)
})
