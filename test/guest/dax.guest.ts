/** Files on DAX storage are read where they lie: nothing of them is in main memory but what is read often. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import { Worker } from 'node:worker_threads'
import koffi from 'koffi'
import { EntryKind } from '../../src/cache/entry.ts'
import { directNumber, entryKind } from '../../src/layout/entry-word.ts'
import type { CachedFile } from '../../src/library/cached-file.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import { mapFile, PROT, unmapFile } from '../../src/linux/mapping.ts'
import { ExtentList } from '../../src/storage/extents.ts'
import { readExtents } from '../../src/storage/read-extents.ts'
import { settle } from '../support/settled.ts'
import { PAGE, pageContent, readPages, writeFile } from './rig/cached.ts'
import { clone } from './rig/files.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGES = 512
const options = { memory: '16MiB', yieldUnderPressure: false } as const

/** Numbers of the device's pages that a file lies on, as the file system tells. */
function placesOf(path: string): number[] {
  const fd = fs.openSync(path, 'r')
  const extents = new ExtentList()
  readExtents(fd, 0, fs.fstatSync(fd).size, extents)
  fs.closeSync(fd)
  return extents
    .toArray()
    .flatMap(({ physical, length }) => Array.from({ length: length / PAGE }, (_, i) => physical / PAGE + i))
}

/** Numbers of the device's pages that entries name. */
function directEntries(cache: PageCache): Map<number, number> {
  const found = new Map<number, number>()
  cache.eachEntry((_, page, word, generation) => {
    if (entryKind(word) === EntryKind.DIRECT) found.set(page, directNumber(word, generation))
  })
  return found
}

/** Reads pages until `count` of them are promoted. */
function readOften(cache: PageCache, file: CachedFile, count: number): void {
  const buffer = Buffer.alloc(PAGE)
  for (let round = 0; round < 400 && cache.stats().dax!.promotedBytes < count * PAGE; round++)
    for (let page = 0; page < count; page++) file.readSync(buffer, { position: page * PAGE })
}

/** A file that has a clone: before Linux 6.2 only such a one gets a home in mode auto. */
async function clonedFile(path: string, file: number, pages = PAGES): Promise<string> {
  clone(writeFile(path, file, pages), `${path}-clone`)
  await settle()
  return path
}

/** Writes a file, and waits until it can be told from a file that is being written. */
async function settledFile(path: string, file: number, pages = PAGES): Promise<string> {
  writeFile(path, file, pages)
  await settle()
  return path
}

/** Bytes of the kernel's page cache, all files'. */
function pageCacheBytes(): number {
  return Number(/^Cached: *(\d+) kB/m.exec(fs.readFileSync('/proc/meminfo', 'latin1'))![1]) * 1024
}

function cleanUp(): void {
  for (const name of fs.readdirSync('/pmem')) fs.rmSync(`/pmem/${name}`)
}

guestTest('a file that nobody shares is read where it lies, page by page where FIEMAP says', async (note) => {
  await using cache = await PageCache.create({ ...options, dax: 'direct' })
  await using file = await cache.open(await settledFile('/pmem/alone', 1))
  readPages(file, 1, 0, PAGES)
  const { dax, pageBytes, bytesLoaded, homes } = cache.stats()
  assert.equal(homes, 1)
  assert.equal(bytesLoaded, 0)
  assert.equal(pageBytes, 0)
  assert.equal(dax!.directPages, PAGES)
  const places = placesOf('/pmem/alone')
  assert.deepEqual(directEntries(cache), new Map(places.map((place, page) => [page, place])))
  using view = file.viewSync(3 * PAGE + 10, 100)
  assert.ok(pageContent(1, 3).subarray(10, 110).equals(view.bytes))
  assert.equal(view.isPinned, false)
  cache.checkInvariants()
  note(`${PAGES} pages on the device, ${dax!.directHits} direct hits`)
})

guestTest('clones of a file on persistent memory share one copy in main memory', async (note) => {
  await using cache = await PageCache.create(options)
  cleanUp()
  await using a = await cache.open(await clonedFile('/pmem/a', 1))
  await using b = await cache.open('/pmem/a-clone')
  assert.equal(cache.stats().homes, 1)
  readOften(cache, a, 4)
  const { promotedBytes, promotions } = cache.stats().dax!
  assert.equal(promotedBytes, 4 * PAGE)
  readPages(b, 1, 0, 4)
  const frames = [a, b].map((file) => {
    using view = file.viewSync(2 * PAGE, PAGE)
    assert.ok(view.isPinned)
    return [view.bytes.buffer, view.bytes.byteOffset]
  })
  assert.equal(frames[0]![0], frames[1]![0])
  assert.equal(frames[0]![1], frames[1]![1])
  assert.equal(cache.stats().dax!.promotions, promotions)
  cache.checkInvariants()
  note(`${promotions} promotions`)
  cleanUp()
})

guestTest("nothing of what is read lies in the kernel's page cache, nor in the arena", async (note) => {
  const pages = 8192
  await settledFile('/pmem/large', 2, pages)
  await using cache = await PageCache.create({ ...options, dax: 'direct' })
  await using file = await cache.open('/pmem/large')
  const before = pageCacheBytes()
  for (let round = 0; round < 2; round++) readPages(file, 2, 0, pages)
  const grown = pageCacheBytes() - before
  const { pageBytes, bytesLoaded, dax } = cache.stats()
  assert.ok(grown < (pages * PAGE) / 16, `${grown} bytes more are in the page cache`)
  assert.deepEqual([pageBytes, bytesLoaded, dax!.promotions, dax!.directPages], [0, 0, 0, pages])
  note(`${pages * PAGE} bytes read twice; the kernel's page cache grew by ${grown}`)
  cleanUp()
})

guestTest('a clone of pages on the device is its own where it is written, and nobody else sees it', async () => {
  await using cache = await PageCache.create(options)
  await settledFile('/pmem/base', 3)
  clone('/pmem/base', '/pmem/clone')
  await settle()
  await using base = await cache.open('/pmem/base')
  await using written = await cache.open('/pmem/clone', 'r+')
  readPages(written, 3, 0, PAGES)
  readOften(cache, base, 8)
  // Of a page in a frame, and of one on the device.
  for (const page of [5, 100]) await written.write(pageContent(9, page), { position: page * PAGE })
  for (const page of [5, 100]) {
    readPages(written, 9, page, 1)
    readPages(base, 3, page, 1)
    readPages(written, 3, page + 1, 1)
  }
  const fd = fs.openSync('/pmem/clone', 'r')
  const bytes = Buffer.alloc(PAGE)
  fs.readSync(fd, bytes, 0, PAGE, 100 * PAGE)
  assert.ok(bytes.equals(pageContent(9, 100)), 'the file itself has the bytes')
  fs.closeSync(fd)

  // And the other way: the file below is written, and cut short, while its home is mapped.
  const below = fs.openSync('/pmem/base', 'r+')
  fs.writeSync(below, pageContent(8, 7), 0, PAGE, 7 * PAGE)
  fs.closeSync(below)
  await using again = await cache.open('/pmem/base')
  readPages(again, 8, 7, 1)
  readPages(base, 8, 7, 1)
  readPages(written, 3, 7, 1)
  cache.checkInvariants()
})

guestTest('a file that is cut short below ends nobody who reads it', async () => {
  await using cache = await PageCache.create(options)
  await clonedFile('/pmem/cut', 4)
  await using file = await cache.open('/pmem/cut')
  readPages(file, 4, 0, PAGES)
  fs.truncateSync('/pmem/cut', 10)
  // Until it is opened again it is what it was.
  readPages(file, 4, 0, PAGES)
  await using again = await cache.open('/pmem/cut')
  assert.equal(again.size, 10)
  assert.equal(await again.read(Buffer.alloc(PAGE), { position: PAGE }), 0)
  assert.equal(await file.read(Buffer.alloc(PAGE), { position: 0 }), 10)
  cleanUp()
})

guestTest('modes: always on the device, copies of what is read often, copies of all', async () => {
  for (const dax of ['auto', 'direct', 'cache'] as const) {
    await using cache = await PageCache.create({ ...options, dax })
    await clonedFile(`/pmem/${dax}`, 5, 128)
    {
      await using file = await cache.open(`/pmem/${dax}`)
      const buffer = Buffer.alloc(PAGE)
      for (let round = 0; round < 300; round++)
        for (let page = 0; page < 8; page++) file.readSync(buffer, { position: page * PAGE })
      readPages(file, 5, 0, 128)
    }
    const stats = cache.stats()
    if (dax === 'cache') assert.deepEqual([stats.pageBytes, stats.dax], [128 * PAGE, undefined])
    else assert.equal(stats.bytesLoaded, 0)
    if (dax === 'direct') assert.deepEqual([stats.pageBytes, stats.dax!.promotions], [0, 0])
    if (dax === 'auto') assert.ok(stats.dax!.promotions > 0 && stats.dax!.promotedBytes === stats.pageBytes)

    // Pages that are the file's own are not mapped: they are read with system calls, and in mode direct never cached.
    await using own = await cache.open(`/pmem/${dax}`, 'r+')
    for (let page = 0; page < 4; page++) await own.write(pageContent(6, page), { position: page * PAGE })
    for (let round = 0; round < 2; round++) {
      readPages(own, 6, 0, 4)
      readPages(own, 5, 4, 124)
    }
    using view = await own.view(2 * PAGE, PAGE)
    assert.ok(pageContent(6, 2).equals(view.bytes))
    if (dax === 'direct') assert.equal(cache.stats().pageBytes, 0)
    cache.checkInvariants()
  }
  cleanUp()
})

guestTest('threads read on the device, and what they read often is promoted for all', async (note) => {
  await using cache = await PageCache.create(options)
  await clonedFile('/pmem/threads', 7)
  await using file = await cache.open('/pmem/threads')
  const workers = [0, 1].map(() => {
    const handle = cache.handle()
    return new Worker(new URL('./rig/direct-reader.js', import.meta.url), {
      workerData: { handle, path: '/pmem/threads', file: 7, pages: 64, rounds: 120 },
      transferList: [...handle.transferList],
    })
  })
  const ends = workers.map((worker) => once(worker, 'message'))
  // From now on: one may be gone while the other is waited for.
  const exits = workers.map((worker) => once(worker, 'exit'))
  for (const end of ends) assert.deepEqual(await end, [0])
  readPages(file, 7, 0, PAGES)
  const { promotedBytes, directHits } = cache.stats().dax!
  assert.ok(promotedBytes > 0, 'nothing was promoted')
  note(`${promotedBytes / PAGE} of 64 pages promoted, some ${directHits} direct hits`)
  await Promise.all(exits)
  cache.checkInvariants()
})

guestTest(
  'a small cache and a large device: bytes are right, and promoted pages stay within the memory',
  async (note) => {
    await using cache = await PageCache.create({ ...options, memory: 64 * PAGE })
    await using file = await cache.open('/pmem/threads')
    const buffer = Buffer.alloc(PAGE)
    for (let pass = 0; pass < 3; pass++)
      for (let page = 0; page < PAGES; page++) {
        for (let i = 0; i < 40; i++) file.readSync(buffer, { position: page * PAGE })
        assert.ok(buffer.equals(pageContent(7, page)), `page ${page}`)
      }
    const { pageBytes, dax } = cache.stats()
    assert.ok(pageBytes <= 64 * PAGE)
    assert.ok(dax!.demotions <= dax!.promotions)
    cache.checkInvariants()
    note(`${dax!.promotions} promotions, ${dax!.demotions} demotions in ${3 * PAGES * 40} reads`)
    cleanUp()
  },
)

guestTest('device DAX is read as a file, and refused for writing', async () => {
  const path = '/dev/dax1.0'
  const bytes = 4 << 20
  const fd = fs.openSync(path, 'r+')
  const address = mapFile(fd, 0, bytes, PROT.READ_WRITE)
  assert.ok(address > 0)
  const memory = new Uint8Array(koffi.view(address, bytes))
  for (let page = 0; page < bytes / PAGE; page++) memory.set(pageContent(8, page), page * PAGE)
  for (const dax of ['auto', 'direct', 'cache'] as const) {
    await using cache = await PageCache.create({ ...options, dax })
    await assert.rejects(cache.open(path, 'r+'), { code: 'EROFS' })
    await using file = await cache.open(path)
    assert.ok(file.size >= bytes, `${file.size} bytes`)
    readPages(file, 8, 0, bytes / PAGE)
    // What others store is seen at once: nothing of it is copied.
    for (let i = 0; i < 1000; i++) readPages(file, 8, 1, 1)
    memory.set(pageContent(9, 1), PAGE)
    readPages(file, 9, 1, 1)
    memory.set(pageContent(8, 1), PAGE)
    using view = file.viewSync(3 * PAGE, 100)
    assert.ok(pageContent(8, 3).subarray(0, 100).equals(view.bytes))
    const { pageBytes, bytesLoaded, dax: stats } = cache.stats()
    assert.deepEqual([pageBytes, bytesLoaded, stats!.promotions], [0, 0, 0])
    cache.checkInvariants()
  }
  unmapFile(address, bytes)
  fs.closeSync(fd)
})
