/** Equal pages of real files, merged: all of them as they are loaded, nearly all by one pass of the scan, the bytes right throughout; across files, offsets and file systems. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import type { CachedFile, PageCache, PageCacheOptions } from '../../src/index.ts'
import { builtLibrary, cacheWorker } from '../support/cache-worker.ts'
import { eventually } from '../support/eventually.ts'
import { clone, KIBIBYTE, noise, PAGE, run, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** Files whose pages are of a few contents, some of one of their own, some zeros; the last one ends within a page. */
class DuplicateSet {
  readonly paths: string[] = []
  readonly contents: Buffer[] = []

  constructor(directories: readonly string[], seed: number, files = 6, pages = 400) {
    const random = new Random(seed)
    const few = Array.from({ length: 60 }, (_, i) => noise(PAGE, seed + i + 1))
    // Equal but for one byte, wherever it is.
    for (let i = 0; i < 20; i++) {
      const twin = Buffer.from(few[i]!)
      twin[random.below(PAGE)]! ^= 1 << random.below(8)
      few.push(twin)
    }
    for (let file = 0; file < files; file++) {
      const size = pages * PAGE - (file === files - 1 ? 1000 : 0)
      const content = Buffer.alloc(pages * PAGE)
      for (let page = 0; page < pages; page++) {
        const kind = random.below(10)
        if (kind < 7) random.pick(few).copy(content, page * PAGE)
        else if (kind < 9) noise(PAGE, seed + 1000 + file * pages + page).copy(content, page * PAGE)
      }
      this.contents.push(content.subarray(0, size))
      this.paths.push(path.join(directories[file % directories.length]!, `set-${file}`))
      writeSynced(this.paths[file]!, this.contents[file]!)
    }
  }

  /** Contents that several pages have, pages besides the first of each, and those that are alone. */
  expected(): { pagesShared: number; pagesSharing: number; pagesUnshared: number } {
    const counts = new Map<string, number>()
    for (const content of this.contents)
      for (let at = 0; at < content.length; at += PAGE) {
        const page = Buffer.alloc(PAGE)
        content.copy(page, 0, at, at + PAGE)
        if (!page.every((byte) => byte === 0))
          counts.set(page.toString('base64'), (counts.get(page.toString('base64')) ?? 0) + 1)
      }
    const several = [...counts.values()].filter((count) => count > 1)
    const pagesSharing = several.reduce((sum, count) => sum + count - 1, 0)
    return { pagesShared: several.length, pagesSharing, pagesUnshared: counts.size - several.length }
  }

  async readAll(files: readonly CachedFile[]): Promise<void> {
    const buffer = Buffer.alloc(64 * KIBIBYTE)
    for (const [i, file] of files.entries())
      for (let position = 0; position < this.contents[i]!.length; ) {
        const count = await file.read(buffer, { position })
        expect(buffer.compare(this.contents[i]!, position, position + count, 0, count)).toBe(0)
        position += count
      }
  }
}

const OPTIONS = { memory: '32MiB', yieldUnderPressure: false } as const satisfies PageCacheOptions

/** What each file system has to show; `directories` are on the file systems that are meant. */
async function mergesAll(directories: readonly string[]): Promise<void> {
  const seed = testSeed()
  const set = new DuplicateSet(directories, seed)
  const expected = set.expected()
  expect(expected.pagesSharing).toBeGreaterThan(1000)
  const { PageCache } = await builtLibrary()
  await settle()
  {
    await using cache = await PageCache.create({ ...OPTIONS, merge: 'content' })
    const files = await Promise.all(set.paths.map((it) => cache.open(it)))
    await set.readAll(files)
    expect(cache.stats().merge, `seed ${seed}`).toMatchObject(expected)
    expect(cache.stats().pageBytes).toBe((expected.pagesShared + expected.pagesUnshared) * PAGE)
    await set.readAll(files)
    cache.checkInvariants()
    for (const file of files) await file.close()
  }
  await using cache = await PageCache.create({ ...OPTIONS, merge: { cpu: 0.5, onLoad: false } })
  const files = await Promise.all(set.paths.map((it) => cache.open(it)))
  await set.readAll(files)
  while (cache.stats().merge!.fullScans === 0) await sleep(10)
  expect(cache.stats().merge, `seed ${seed}`).toMatchObject(expected)
  expect(cache.stats().merge!.bytesSaved).toBe(expected.pagesSharing * PAGE)
  await set.readAll(files)
  cache.checkInvariants()
  for (const file of files) await file.close()
}

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-merging-'))
afterAll(() => fs.rmSync(scratch, { recursive: true }))

async function onTmpfs(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = fs.mkdtempSync('/dev/shm/samepage-merging-')
  try {
    await body(directory)
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

describe('equal pages on tmpfs', () => {
  test('are merged on load, and by the scan', () => onTmpfs((directory) => mergesAll([directory])))
})

for (const kind of ['ext4', 'xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', kind], `equal pages on ${kind}`, () => {
    test('are merged on load, and by the scan', async () => {
      await using filesystem = await loopFilesystem(kind)
      await mergesAll([filesystem.path])
    })
  })

describeWith(['root', 'loop', 'ext4', 'xfs'], 'equal pages on several file systems', () => {
  test('are merged with each other', async () => {
    await using ext4 = await loopFilesystem('ext4')
    await using xfs = await loopFilesystem('xfs')
    await onTmpfs((tmpfs) => mergesAll([ext4.path, xfs.path, tmpfs]))
  })

  test('pages of homes are merged, too, and a clone that is written keeps its siblings as they were', async () => {
    const seed = testSeed()
    await using xfs = await loopFilesystem('xfs')
    const set = new DuplicateSet([xfs.path], seed, 2)
    for (const [i, it] of set.paths.slice(0, 2).entries()) {
      clone(it, `${xfs.path}/clone-${i}`)
      set.paths.push(`${xfs.path}/clone-${i}`)
      set.contents.push(Buffer.from(set.contents[i]!))
    }
    run('sync', '-f', xfs.path)
    await settle()
    const { PageCache } = await builtLibrary()
    await using cache = await PageCache.create({ ...OPTIONS, minShareBytes: 16 * KIBIBYTE, merge: 'content' })
    const files = await Promise.all(set.paths.map((it) => cache.open(it, 'r+')))
    await set.readAll(files)
    expect(cache.stats().homes).toBeGreaterThan(0)
    expect(cache.stats().merge!.pagesSharing).toBeGreaterThan(200)
    const { pageBytes } = cache.stats()
    for (let page = 0; page < 20; page++) {
      noise(PAGE, page + 5).copy(set.contents[2]!, page * PAGE)
      await files[2]!.write(set.contents[2]!.subarray(page * PAGE, (page + 1) * PAGE), { position: page * PAGE })
    }
    await set.readAll(files)
    expect(cache.stats().pageBytes).toBeLessThanOrEqual(pageBytes + 20 * PAGE)
    cache.checkInvariants()
    for (const file of files) await file.close()
  })
})

/** A cache and its files, in an ordinary directory. */
async function withSet(
  options: Partial<PageCacheOptions>,
  body: (cache: PageCache, files: CachedFile[], set: DuplicateSet) => Promise<void>,
): Promise<void> {
  const set = new DuplicateSet([fs.mkdtempSync(path.join(scratch, 'set-'))], testSeed())
  await settle()
  const { PageCache } = await builtLibrary()
  await using cache = await PageCache.create({ ...OPTIONS, ...options })
  const files = await Promise.all(set.paths.map((it) => cache.open(it, 'r+')))
  await body(cache, files, set)
  cache.checkInvariants()
  for (const file of files) await file.close()
}

test('merge(files) loads and merges at once, also where nothing is merged otherwise, and tells how far it has come', () =>
  withSet({}, async (cache, files, set) => {
    // Some are there already.
    await files[1]!.advise('willneed')
    expect(cache.stats().merge).toBeUndefined()
    const totalBytes = set.contents.reduce((sum, { length }) => sum + length, 0)
    const seen: number[] = []
    await cache.merge(files, {
      onProgress(progress) {
        expect(progress.totalBytes).toBe(totalBytes)
        seen.push(progress.bytes)
      },
    })
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.at(-1)).toBe(totalBytes)
    expect(cache.stats().merge).toMatchObject(set.expected())
    await set.readAll(files)
  }))

test('merge(files) ends where its signal says, and what was merged stays so', () =>
  withSet({}, async (cache, files, set) => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const merging = cache.merge(files, {
      signal: controller.signal,
      onProgress: ({ bytes }) => bytes > 2 * 400 * PAGE && controller.abort(reason),
    })
    await expect(merging).rejects.toBe(reason)
    expect(cache.stats().merge!.pagesSharing).toBeGreaterThan(300)
    expect(cache.stats().merge!.pagesSharing).toBeLessThan(set.expected().pagesSharing)
    await set.readAll(files)
  }))

test('another thread merges by message', () =>
  withSet({}, async (cache, files, set) => {
    const worker = cacheWorker(
      cache,
      `const files = []
       for (const path of data.paths) files.push(await cache.open(path))
       await cache.merge(files)
       for (const file of files) await file.close()`,
      { paths: set.paths },
    )
    await worker.ended
    expect(cache.stats().merge).toMatchObject(set.expected())
    await set.readAll(files)
  }))

test('views stay what they are when their pages are merged, written and dropped', () =>
  withSet({}, async (cache, files, set) => {
    await set.readAll(files)
    const views = files.flatMap((file, i) =>
      Array.from({ length: 400 }, (_, page) => ({ view: file.viewSync(page * PAGE, 100), i, page })),
    )
    const check = () => {
      for (const { view, i, page } of views)
        expect(view.bytes.every((byte, at) => byte === set.contents[i]![page * PAGE + at])).toBe(true)
    }
    await cache.merge(files)
    check()
    expect(cache.stats().merge).toMatchObject(set.expected())
    expect(cache.stats().limboBytes).toBeGreaterThan(0)
    const before = set.contents[0]!
    set.contents[0] = noise(before.length, 3)
    await files[0]!.write(set.contents[0]!, { position: 0 })
    await files[1]!.advise('dontneed')
    await set.readAll(files)
    set.contents[0] = before
    check()
    for (const { view } of views) view.dispose()
  }))

test('a page that is written leaves the others as they are; pages that are written again and again are left alone', () =>
  withSet({ merge: { cpu: 0.5 } }, async (cache, files, set) => {
    await set.readAll(files)
    const random = new Random(testSeed())
    // Of a content that others have; not zeros, for they take a frame where they are written, and none where they are loaded.
    const content = set.contents[0]!
    let first = 0
    while (content[first] === 0) first++
    const equal = Buffer.from(content.subarray(first - (first % PAGE), first - (first % PAGE) + PAGE))
    for (let i = 0; i < 300; i++) {
      const file = random.below(files.length - 1)
      const page = random.below(400)
      const bytes = random.below(2) === 0 ? equal : noise(PAGE, i + 1)
      bytes.copy(set.contents[file]!, page * PAGE)
      if (i % 2 === 0) files[file]!.writeSync(bytes, { position: page * PAGE })
      else await files[file]!.write(bytes, { position: page * PAGE })
    }
    await set.readAll(files)
    cache.checkInvariants()
    const { merge } = cache.stats()
    expect(merge!.pagesSharing).toBeLessThan(set.expected().pagesSharing)
    // Once they have come to rest, they are merged as all others.
    await eventually(() => expect(cache.stats().merge).toMatchObject(set.expected()), 20_000)
    await set.readAll(files)
  }))

test('nothing is merged across domains, and a file is of one domain at a time', () =>
  withSet({ merge: 'content' }, async (cache, _files, set) => {
    const { PageCache } = await builtLibrary()
    await using other = await PageCache.create({ ...OPTIONS, merge: 'content' })
    const content = noise(10 * PAGE, 1)
    const paths = ['a', 'b', 'c'].map((name) => path.join(scratch, name))
    for (const it of paths) writeSynced(it, content)
    const [a, b, c] = await Promise.all(paths.map((it, i) => other.open(it, 'r', { domain: i === 2 ? 5 : 9 })))
    for (const file of [a!, b!, c!]) expect(await file.read(Buffer.alloc(10 * PAGE), { position: 0 })).toBe(10 * PAGE)
    expect(other.stats().merge).toMatchObject({ pagesShared: 10, pagesSharing: 10, pagesUnshared: 10 })
    await expect(other.open(paths[0]!)).rejects.toMatchObject({ code: 'EBUSY' })
    await a!.close()
    const again = await other.open(paths[0]!, 'r', { domain: 5 })
    expect(await again.read(Buffer.alloc(10 * PAGE), { position: 0 })).toBe(10 * PAGE)
    expect(other.stats().merge).toMatchObject({ pagesShared: 20, pagesSharing: 10, pagesUnshared: 0 })
    other.checkInvariants()
    for (const file of [again, b!, c!]) await file.close()
    await expect(cache.open(set.paths[0]!, 'r', { domain: -1 })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  }))

test('the limit holds, whatever is merged and evicted, and less than 64 bytes are needed for each page', () =>
  withSet({ memory: '4MiB', merge: { cpu: 1 } }, async (cache, files, set) => {
    const seed = testSeed()
    const random = new Random(seed)
    const buffer = Buffer.alloc(64 * KIBIBYTE)
    for (let i = 0; i < 3000; i++) {
      const file = random.below(files.length)
      const position = random.below(390) * PAGE
      const count = await files[file]!.read(buffer, { position })
      expect(buffer.compare(set.contents[file]!, position, position + count, 0, count)).toBe(0)
      if (i % 100 === 0) cache.resize(random.pick(['1MiB', '2MiB', '4MiB']))
      const { pageBytes, indexBytes, limboBytes, memoryMax, merge } = cache.stats()
      expect(pageBytes + indexBytes + limboBytes + merge!.indexBytes, `seed ${seed}`).toBeLessThanOrEqual(memoryMax)
    }
    const { merge, evicted } = cache.stats()
    expect(evicted).toBeGreaterThan(100)
    expect(merge!.indexBytes / 1024).toBeLessThan(64)
  }))

test('options that make no sense are refused', async () => {
  const { PageCache } = await builtLibrary()
  for (const cpu of [0, -1, 1.01, Number.NaN])
    await expect(PageCache.create({ ...OPTIONS, merge: { cpu } })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  await expect(PageCache.create({ ...OPTIONS, merge: 'contents' as 'content' })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  })
})
