/** Files on DAX storage are read where they lie: nothing of them is in main memory but what is read often. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { EntryKind } from '../../src/cache/entry.ts'
import { directNumber, entryKind } from '../../src/layout/entry-word.ts'
import type { CachedFile } from '../../src/library/cached-file.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import { cloneFile } from '../../src/linux/clone.ts'
import { ExtentList } from '../../src/storage/extents.ts'
import { readExtents } from '../../src/storage/read-extents.ts'
import { PAGE, pageContent, readPages, writeFile } from './rig/cached.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGES = 512
const options = { memory: '16MiB', yieldUnderPressure: false } as const

function clone(from: string, to: string): string {
  const [source, target] = [fs.openSync(from, 'r'), fs.openSync(to, 'w')]
  assert.equal(cloneFile(target, source), 0)
  fs.closeSync(source)
  fs.closeSync(target)
  return to
}

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

function cleanUp(): void {
  for (const name of fs.readdirSync('/pmem')) fs.rmSync(`/pmem/${name}`)
}

guestTest('a file that nobody shares is read where it lies, page by page where FIEMAP says', async (note) => {
  await using cache = await PageCache.create(options)
  await using file = await cache.open(writeFile('/pmem/alone', 1, PAGES))
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
  await using a = await cache.open('/pmem/alone')
  await using b = await cache.open(clone('/pmem/alone', '/pmem/clone'))
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
