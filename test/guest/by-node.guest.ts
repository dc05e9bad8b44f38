/** Pages of each node's own: (inode, node) → mapping, chosen when a file is opened. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { PageCache } from '../../src/library/page-cache.ts'
import { runOn } from './rig/affinity.ts'
import { PAGE, pageContent, placement, readPages, writeFile } from './rig/cached.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGES = 48

guestTest('each node has pages of its own, and all see what is written', async () => {
  await using cache = await PageCache.create({
    memory: '16MiB',
    numa: 'inode',
    yieldUnderPressure: false,
    dax: 'cache',
  })
  writeFile('/pmem/by-node', 1, PAGES)
  const files = [0, 1, 2].map((node) => {
    runOn(node)
    const file = cache.openSync('/pmem/by-node', node === 0 ? 'r+' : 'r')
    readPages(file, 1, 0, PAGES)
    return file
  })
  // Chosen at the open: it does not matter where it is read.
  for (const [node, file] of files.entries()) assert.deepEqual(placement(file, 0, PAGES), new Array(PAGES).fill(node))
  const { bytesLoaded, numa } = cache.stats()
  assert.equal(bytesLoaded, 3 * PAGES * PAGE)
  assert.equal(numa!.replicaBytes, 0)

  files[0]!.writeSync(pageContent(8, 7), { position: 7 * PAGE })
  for (const file of files) {
    readPages(file, 8, 7, 1)
    readPages(file, 1, 8, PAGES - 8)
  }
  files[0]!.truncateSync(10 * PAGE)
  for (const file of files) {
    assert.equal(file.size, 10 * PAGE)
    assert.equal(file.readSync(Buffer.alloc(PAGE), { position: 10 * PAGE }), 0)
  }
  cache.checkInvariants()
  for (const file of files) file.closeSync()
  fs.rmSync('/pmem/by-node')
  runOn(0)
})
