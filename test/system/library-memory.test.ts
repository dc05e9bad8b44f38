/** Memory: never more than was said, given back when the cache shrinks, no garbage by hits; and caches without system calls, and without root. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { PageCache, type PageCacheStats } from '../../src/index.ts'
import { givesHugePages } from '../../src/linux/memory.ts'
import { eventually } from '../support/eventually.ts'
import { clone, KIBIBYTE, MEBIBYTE, noise, PAGE, run, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { arenaBytes, arenasOf, splitHugePages } from '../support/mappings.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'
import { ROOT } from '../support/sources.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-memory-'))
fs.chmodSync(directory, 0o755)
afterAll(() => fs.rmSync(directory, { recursive: true }))

test('pages and indexes take never more than was said, whatever is read', async () => {
  const seed = testSeed()
  const random = new Random(seed)
  const file = path.join(directory, 'large')
  // Sparse, with single pages far apart: each needs nodes of its own.
  fs.writeFileSync(file, '')
  const fd = fs.openSync(file, 'r+')
  const pages = Array.from({ length: 3000 }, (_, i) => i * 97)
  for (const page of pages) fs.writeSync(fd, noise(PAGE, page + 1), 0, PAGE, page * PAGE)
  fs.closeSync(fd)
  await using cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false })
  await using open = await cache.open(file)
  const buffer = Buffer.alloc(64 * KIBIBYTE)
  let limit = 4 * MEBIBYTE
  let most = 0
  for (let i = 0; i < 2000; i++) {
    const position = random.pick(pages) * PAGE
    switch (random.below(10)) {
      case 0:
        await Promise.all(
          Array.from({ length: 50 }, () => open.read(Buffer.alloc(PAGE), { position: random.pick(pages) * PAGE })),
        )
        break
      case 1:
        await open.read(buffer, { position })
        break
      case 2:
        if (i % 20 !== 0) break
        limit = random.pick([1, 2, 4]) * MEBIBYTE
        cache.resize(limit)
        // What is being read ahead just now has its memory until it has been.
        await eventually(async () => expect(arenaBytes() + cache.stats().indexBytes).toBeLessThanOrEqual(limit))
        break
      default:
        open.readSync(buffer, { position, length: PAGE })
        if (!buffer.subarray(0, PAGE).equals(noise(PAGE, position / PAGE + 1)))
          throw new Error(`seed ${seed}: page at ${position}`)
    }
    const { pageBytes, indexBytes, limboBytes } = cache.stats()
    expect(pageBytes + indexBytes + limboBytes, `seed ${seed}`).toBeLessThanOrEqual(limit)
    expect(arenaBytes() + indexBytes, `seed ${seed}`).toBeLessThanOrEqual(limit)
    most = Math.max(most, arenaBytes() + indexBytes)
  }
  // And that is what it uses, given the time to fill it: the limits above may never have been the largest for long.
  limit = 4 * MEBIBYTE
  cache.resize(limit)
  for (const page of pages) open.readSync(buffer, { position: page * PAGE, length: PAGE })
  const { indexBytes } = cache.stats()
  expect(arenaBytes() + indexBytes, `seed ${seed}`).toBeLessThanOrEqual(limit)
  most = Math.max(most, arenaBytes() + indexBytes)
  expect(most, `seed ${seed}`).toBeGreaterThan(0.9 * 4 * MEBIBYTE)
  cache.checkInvariants()
})

test('what shrinks gives its memory back to the system, also what was pinned once it is let go; and grows again', async () => {
  const content = noise(16 * MEBIBYTE, 3)
  const file = path.join(directory, 'file')
  fs.writeFileSync(file, content)
  await using cache = await PageCache.create({ memory: '20MiB', yieldUnderPressure: false })
  await using open = await cache.open(file)
  await open.advise('willneed')
  expect(arenaBytes()).toBe(16 * MEBIBYTE)
  const views = Array.from({ length: 512 }, (_, i) => open.viewSync(i * 5 * PAGE, PAGE))
  cache.resize('1MiB')
  expect(arenaBytes()).toBe(512 * PAGE)
  for (const [i, view] of views.entries())
    expect(Buffer.compare(view.bytes, content.subarray(i * 5 * PAGE, (i * 5 + 1) * PAGE))).toBe(0)
  // There is no room: past the cache, and right.
  const buffer = Buffer.alloc(MEBIBYTE)
  expect(await open.read(buffer, { position: 9 * MEBIBYTE })).toBe(MEBIBYTE)
  expect(buffer.equals(content.subarray(9 * MEBIBYTE, 10 * MEBIBYTE))).toBe(true)
  using beyond = await open.view(12 * MEBIBYTE, 3 * PAGE)
  expect(beyond.isPinned).toBe(false)
  expect(Buffer.compare(beyond.bytes, content.subarray(12 * MEBIBYTE, 12 * MEBIBYTE + 3 * PAGE))).toBe(0)
  expect(arenaBytes()).toBe(512 * PAGE)
  for (const view of views) view.dispose()
  await open.read(buffer, { position: 9 * MEBIBYTE })
  expect(arenaBytes() + cache.stats().indexBytes).toBeLessThanOrEqual(MEBIBYTE)
  cache.resize('20MiB')
  await open.advise('willneed')
  expect(cache.stats().pageBytes).toBe(16 * MEBIBYTE)
  const all = Buffer.alloc(content.length)
  expect(open.tryRead(all, { position: 0 })).toBe(content.length)
  expect(all.equals(content)).toBe(true)
  cache.checkInvariants()
})

/** Huge pages that were split so far, on the whole machine. */
test('a large arena is in huge pages, and takes no more than was said: not when it shrinks, nor when it grows again', async () => {
  const seed = testSeed()
  const random = new Random(seed)
  const content = noise(80 * MEBIBYTE, 4)
  const pages = content.length / PAGE
  const file = path.join(directory, 'huge')
  fs.writeFileSync(file, content)
  await using cache = await PageCache.create({ memory: '72MiB', yieldUnderPressure: false })
  await using open = await cache.open(file)
  const buffer = Buffer.alloc(MEBIBYTE)
  let limit = 72 * MEBIBYTE
  const check = (position: number, length: number) => {
    expect(open.readSync(buffer, { position, length })).toBe(length)
    if (!buffer.subarray(0, length).equals(content.subarray(position, position + length)))
      expect.fail(`seed ${seed}: wrong bytes at ${position}`)
  }
  const expectWithin = () => {
    expect(arenaBytes() + cache.stats().indexBytes, `seed ${seed}, limit ${limit}`).toBeLessThanOrEqual(limit)
    expect(cache.stats().memoryMax).toBe(limit)
  }
  const readAll = () => {
    for (let position = 0; position < content.length; position += MEBIBYTE) {
      check(position, MEBIBYTE)
      if (position % (8 * MEBIBYTE) === 0) expectWithin()
    }
  }
  const readAtRandom = () => {
    for (let i = 0; i < 20_000; i++) {
      check(random.below(pages) * PAGE, PAGE)
      if (i % 500 === 0) expectWithin()
    }
  }
  readAll()
  const arena = arenasOf('self').find(({ residentBytes }) => residentBytes > 0)!
  expect(arena.residentBytes).toBeGreaterThan(68 * MEBIBYTE)
  if (givesHugePages()) expect(arena.hugeBytes).toBeGreaterThan(64 * MEBIBYTE)
  const before = splitHugePages()
  for (const mebibytes of [20, 1, 4, 8, 16, 40, 72]) {
    limit = mebibytes * MEBIBYTE
    cache.resize(limit)
    expectWithin()
    readAtRandom()
    readAll()
    expect(arenaBytes()).toBeGreaterThan(0.8 * limit)
  }
  // Else what was given back is still there, as part of a huge page.
  if (givesHugePages()) expect(splitHugePages()).toBeGreaterThan(before)
  cache.checkInvariants()
})

interface Child {
  readonly env?: Record<string, string>
  readonly flags?: readonly string[]
  readonly user?: { readonly uid: number; readonly gid: number }
  /** KiB of address space that it may have. */
  readonly addressSpace?: number
}

/** Runs an async function's body, with `library` and `data`, in a process of its own: what it returns. */
function inChild<Result>(
  body: string,
  data: unknown,
  { env = {}, flags = [], user = { uid: 0, gid: 0 }, addressSpace }: Child,
): Result {
  const library = pathToFileURL(path.join(process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist'), 'index.js')).href
  const code = `
    import fs from 'node:fs'
    import { Worker } from 'node:worker_threads'
    const library = await import('${library}')
    const data = ${JSON.stringify(data)}
    const result = await (async () => { ${body} })()
    fs.writeSync(1, JSON.stringify(result))`
  // From a file: with -e its threads would be modules, too.
  const script = path.join(directory, 'child.mjs')
  fs.writeFileSync(script, code)
  const limit = addressSpace === undefined ? '' : `ulimit -v ${addressSpace} && `
  const printed = execFileSync('sh', ['-c', `${limit}exec "$@"`, 'sh', process.execPath, ...flags, script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    ...(process.getuid?.() === 0 ? user : {}),
    timeout: 120_000,
  })
  return JSON.parse(printed)
}

test('where the system refuses memory create says so, and smaller caches can be made', () => {
  const file = path.join(directory, 'small')
  fs.writeFileSync(file, 'some bytes')
  const told = inChild<unknown[]>(
    `
    const told = []
    // Pages, then what leads to them.
    for (const memory of ['8GiB', '64GiB', '16MiB'])
      try {
        const cache = await library.PageCache.create({ memory })
        const file = await cache.open(data.file)
        told.push(await file.read(Buffer.alloc(100), { position: 0 }))
        await file.close()
        await cache.close()
      } catch (error) {
        told.push(error.code)
      }
    return told`,
    { file },
    { addressSpace: 6_000_000 },
  )
  expect(told).toEqual(['ENOMEM', 'ERR_OUT_OF_RANGE', 10])
})

test('a readSync of a page that is in memory leaves no garbage', () => {
  const file = path.join(directory, 'hot')
  fs.writeFileSync(file, noise(4 * MEBIBYTE, 1))
  const perRead = inChild<number[]>(
    `
    const cache = await library.PageCache.create({ memory: '16MiB', yieldUnderPressure: false })
    const file = await cache.open(data.file)
    await file.advise('willneed')
    const buffer = Buffer.alloc(4096)
    const options = { position: 0 }
    const rounds = []
    const run = (count) => {
      for (let i = 0; i < count; i++) {
        options.position = (i * 7919 % 1024) * 4096
        if (file.readSync(buffer, options) !== 4096) throw new Error('short')
      }
    }
    run(300000)
    for (let round = 0; round < 12; round++) {
      gc()
      const before = process.memoryUsage().heapUsed
      run(100000)
      rounds.push((process.memoryUsage().heapUsed - before) / 100000)
    }
    await cache.close()
    return rounds`,
    { file },
    { flags: ['--expose-gc'] },
  )
  // Asking takes some bytes itself: a hundredth of one for each read.
  expect(Math.min(...perRead)).toBeLessThan(0.1)
})

/** Reads files whole, in several ways and from another thread, and writes one: what the cache says of itself. */
const EXERCISE = `
  const cache = await library.PageCache.create({ memory: '24MiB', minShareBytes: 16384, yieldUnderPressure: false })
  const files = []
  for (const path of data.paths) {
    const file = await cache.open(path)
    files.push(file)
    const wanted = fs.readFileSync(path), buffer = Buffer.alloc(wanted.length + 10)
    for (let i = 0; i < 2; i++)
      for (const count of [await file.read(buffer, { position: 0 }), file.readSync(buffer, { position: 0 })])
        if (!buffer.subarray(0, count).equals(wanted)) throw new Error('read ' + path)
    const view = file.viewSync(100000, 50000)
    if (!Buffer.from(view.bytes).equals(wanted.subarray(100000, 150000))) throw new Error('view')
    view.dispose()
  }
  const stats = cache.stats()
  const file = await cache.open(data.paths.at(-1), 'r+')
  await file.write(Buffer.alloc(5000, 'w'), { position: 70000 })
  file.writeSync(Buffer.alloc(8192, 'v'), { position: 90000 })
  file.truncateSync(400001)
  const wanted = fs.readFileSync(data.paths.at(-1)), buffer = Buffer.alloc(wanted.length + 1)
  if (file.readSync(buffer, { position: 0 }) !== 400001 || !buffer.subarray(0, 400001).equals(wanted)) throw new Error('written')
  const handle = cache.handle()
  const worker = new Worker(\`
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.library).then(async ({ PageCache }) => {
      const cache = await PageCache.attach(workerData.handle)
      const file = await cache.open(workerData.path)
      const wanted = require('node:fs').readFileSync(workerData.path), buffer = Buffer.alloc(wanted.length)
      await file.read(buffer, { position: 0 })
      const isRight = buffer.equals(wanted) && file.tryRead(buffer, { position: 0 }) === wanted.length && buffer.equals(wanted)
      await file.close()
      await cache.close()
      parentPort.postMessage(isRight)
    })\`, { eval: true, workerData: { handle, path: data.paths[0], library: data.library }, transferList: handle.transferList })
  if (await new Promise((resolve, reject) => { worker.on('message', resolve); worker.on('error', reject) }) !== true) throw new Error('thread')
  cache.resize('4MiB')
  cache.resize('24MiB')
  for (const open of files) open.closeSync()
  await file.close()
  cache.checkInvariants()
  await cache.close()
  return { ...stats, hasKoffi: fs.readFileSync('/proc/self/maps', 'utf8').includes('koffi') }`

const LIBRARY = pathToFileURL(path.join(process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist'), 'index.js')).href

describeWith(['root', 'loop', 'xfs'], 'the library elsewhere', () => {
  const SIZE = 3 * MEBIBYTE
  async function ground() {
    const filesystem = await loopFilesystem('xfs')
    const own = `${filesystem.path}/own`
    fs.mkdirSync(own)
    writeSynced(`${own}/original`, noise(SIZE, 1))
    const paths = ['original', 'one', 'two', 'three'].map((name) => `${own}/${name}`)
    for (const path of paths.slice(1)) clone(paths[0]!, path)
    run('sync', '-f', filesystem.path)
    await settle()
    return { filesystem, own, paths }
  }

  test('without system calls: the same bytes, in a buffer, and nothing is shared', async () => {
    const { filesystem, paths } = await ground()
    await using _ = filesystem
    const stats = inChild<PageCacheStats & { hasKoffi: boolean }>(
      EXERCISE,
      { paths, library: LIBRARY },
      { env: { SAMEPAGE_NATIVE: '0' } },
    )
    expect(stats).toMatchObject({
      arena: 'buffer',
      shares: false,
      homes: 0,
      pageBytes: 4 * SIZE,
      bytesLoaded: 4 * SIZE,
    })
  })

  test('on another platform: likewise, and koffi is not even loaded', async () => {
    const { filesystem, paths } = await ground()
    await using _ = filesystem
    const body = `Object.defineProperty(process, 'platform', { value: 'darwin' }); ${EXERCISE}`
    expect(inChild<PageCacheStats & { hasKoffi: boolean }>(body, { paths, library: LIBRARY }, {})).toMatchObject({
      arena: 'buffer',
      shares: false,
    })
  })

  test('by an ordinary user: clones share; what he may not open he does not get', async () => {
    const { filesystem, own, paths } = await ground()
    await using _ = filesystem
    const user = { uid: 65_534, gid: 65_534 }
    for (const path of [own, ...paths]) fs.chownSync(path, user.uid, user.gid)
    await settle()
    const stats = inChild<PageCacheStats & { hasKoffi: boolean }>(EXERCISE, { paths, library: LIBRARY }, { user })
    expect(stats).toMatchObject({
      arena: 'mapped',
      shares: true,
      hasKoffi: true,
      homes: 1,
      pageBytes: SIZE,
      bytesLoaded: SIZE,
    })

    fs.chownSync(paths[1]!, 0, 0)
    fs.chmodSync(paths[1]!, 0o600)
    fs.chownSync(paths[2]!, 0, 0)
    fs.chmodSync(paths[2]!, 0o644)
    // He may pass through it, and not look into it.
    fs.chownSync(own, 0, 0)
    fs.chmodSync(own, 0o711)
    const outcomes = inChild<string[]>(
      `
      const cache = await library.PageCache.create({ memory: '8MiB' })
      const outcomes = []
      for (const [path, flags] of [[data.paths[1], 'r'], [data.paths[2], 'r+'], [data.paths[2], 'r']])
        for (const open of [() => cache.open(path, flags), async () => cache.openSync(path, flags)])
          outcomes.push(await open().then((file) => file.readSync(Buffer.alloc(10), { position: 0 }), (error) => error.code + ' ' + error.path))
      await new Promise((resolve) => setTimeout(resolve, 100))
      await cache.close()
      return outcomes`,
      { paths },
      { user },
    )
    const refused = (path: string) => `EACCES ${path}`
    expect(outcomes).toEqual([refused(paths[1]!), refused(paths[1]!), refused(paths[2]!), refused(paths[2]!), 10, 10])
  })
})
