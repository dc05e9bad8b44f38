/** Several threads on one cache: hits without the thread that made it, misses and writes by way of it, threads that die, and a cache that ends under them. */
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, expect, test } from 'vitest'
import type { PageCache } from '../../src/index.ts'
import { builtLibrary, cacheWorker, LIBRARY } from '../support/cache-worker.ts'
import { eventually } from '../support/eventually.ts'
import { descriptorsInto, MEBIBYTE, noise, PAGE } from '../support/files.ts'
import { arenaBytes } from '../support/mappings.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-threads-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

const CONTENT = noise(2 * MEBIBYTE, 1)
const FILE = path.join(directory, 'file')
fs.writeFileSync(FILE, CONTENT)

async function create(memory = '8MiB'): Promise<PageCache> {
  return (await builtLibrary()).PageCache.create({ memory, yieldUnderPressure: false })
}

for (const byMessage of [false, true])
  test(`a thread hits while the one that made the cache is busy; the handle comes by ${byMessage ? 'postMessage' : 'workerData'}`, async () => {
    await using cache = await create()
    const flag = new Int32Array(new SharedArrayBuffer(8))
    const { said, ended } = cacheWorker(
      cache,
      `
      const fs = require('node:fs')
      const content = fs.readFileSync(data.path)
      const file = await cache.open(data.path)
      await file.advise('random')
      const buffer = Buffer.alloc(content.length)
      if (await file.read(buffer.subarray(0, 1048576), { position: 0 }) !== 1048576) throw new Error('short')
      Atomics.store(data.flag, 0, 1)
      // The other thread does nothing but wait for this from here on.
      while (Atomics.load(data.flag, 1) === 0);
      let hits = 0
      for (let position = 0; position < 1048576; position += 4096 * 3) {
        const length = Math.min(4096 * 2, 1048576 - position)
        const wanted = content.subarray(position, position + length)
        if (file.tryRead(buffer, { position, length }) !== length || !buffer.subarray(0, length).equals(wanted)) throw new Error('tryRead')
        if (file.readSync(buffer, { position, length }) !== length || !buffer.subarray(0, length).equals(wanted)) throw new Error('readSync')
        const view = file.viewSync(position, length)
        if (!view.isPinned || !Buffer.concat(view.parts).equals(wanted)) throw new Error('viewSync')
        view.dispose()
        hits++
      }
      // What is missing is read past the cache.
      const at = 1500000
      if (file.tryRead(buffer, { position: at, length: 4096 }) !== undefined) throw new Error('is there')
      if (file.readSync(buffer, { position: at, length: 4096 }) !== 4096 || !buffer.subarray(0, 4096).equals(content.subarray(at, at + 4096))) throw new Error('miss')
      const view = file.viewSync(at, 4096)
      if (view.isPinned || !Buffer.concat(view.parts).equals(content.subarray(at, at + 4096))) throw new Error('view of a miss')
      Atomics.store(data.flag, 0, 2)
      Atomics.notify(data.flag, 0)
      await file.close()
      say(hits)`,
      { path: FILE, flag },
      byMessage,
    )
    while (Atomics.load(flag, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    Atomics.store(flag, 1, 1)
    Atomics.wait(flag, 0, 1, 20_000)
    const isDone = Atomics.load(flag, 0) === 2
    expect(await said()).toBeGreaterThan(80)
    expect(isDone).toBe(true)
    await ended
    await eventually(async () => expect(cache.stats()).toMatchObject({ threads: 1, filesOpen: 0 }))
    cache.checkInvariants()
  })

test('misses, writes, errors and what cannot be done from another thread', async () => {
  await using cache = await create()
  const own = path.join(directory, 'written')
  fs.writeFileSync(own, CONTENT)
  await using reader = await cache.open(own)
  reader.readSync(Buffer.alloc(MEBIBYTE), { position: 0 })
  const { said, ended } = cacheWorker(
    cache,
    `
    const file = await cache.open(data.path, 'r+')
    const buffer = Buffer.alloc(4096)
    const view = await file.view(500000, 5000)
    say(Buffer.concat(view.parts))
    view.dispose()
    const pool = Buffer.from('a part of a larger buffer: ' + 'x'.repeat(200))
    await file.write(pool.subarray(10, 100), { position: 700000 })
    await file.read(buffer, { position: 700000 })
    say(buffer.subarray(0, 90))
    await file.truncate(1000001)
    await file.sync()
    await file.datasync()
    say([file.size, (await file.stat()).size])
    const codes = []
    const tell = async (act) => { try { await act(); codes.push('none') } catch (error) { codes.push([error.code, error.path]) } }
    await tell(() => cache.open(data.path + '.missing'))
    for (const method of ['writeSync', 'truncateSync', 'syncSync', 'datasyncSync']) await tell(() => method === 'writeSync' ? file.writeSync(buffer, { position: 0 }) : file[method]())
    await tell(() => cache.openSync(data.path))
    for (const method of ['stats', 'handle']) await tell(() => cache[method]())
    await tell(() => cache.resize('4MiB'))
    say(codes)
    file.closeSync()
    const forgotten = await cache.open(data.path)
    await forgotten.read(buffer, { position: 0 })
    await cache.close()
    codes.length = 0
    await tell(() => forgotten.readSync(buffer, { position: 0 }))
    await tell(() => cache.open(data.path))
    say(codes)`,
    { path: own },
  )
  const bytes = async () => Buffer.from((await said()) as Uint8Array)
  expect((await bytes()).equals(CONTENT.subarray(500_000, 505_000))).toBe(true)
  const written = Buffer.from(`a part of a larger buffer: ${'x'.repeat(200)}`).subarray(10, 100)
  expect((await bytes()).equals(written)).toBe(true)
  expect(await said()).toEqual([1_000_001, 1_000_001])
  const wanted = fs.readFileSync(own)
  expect(wanted.subarray(700_000, 700_090).equals(written)).toBe(true)
  const got = Buffer.alloc(2 * MEBIBYTE)
  expect(reader.readSync(got, { position: 0 })).toBe(1_000_001)
  expect(got.subarray(0, 1_000_001).equals(wanted)).toBe(true)
  const not = ['ERR_METHOD_NOT_SUPPORTED', undefined]
  expect(await said()).toEqual([['ENOENT', `${own}.missing`], not, not, not, not, not, not, not, not])
  expect(await said()).toEqual([
    ['EBADF', own],
    ['ERR_INVALID_STATE', undefined],
  ])
  await ended
  await eventually(async () => expect(cache.stats()).toMatchObject({ threads: 1, filesOpen: 1 }))
  cache.checkInvariants()
})

test('a thread that transfers the buffer of a view goes on with right bytes, and so do all others', async () => {
  await using cache = await create()
  const own = path.join(directory, 'transferred')
  fs.writeFileSync(own, CONTENT)
  await using file = await cache.open(own)
  const buffer = Buffer.alloc(100_000)
  await file.read(buffer, { position: 0 })
  const { said, ended } = cacheWorker(
    cache,
    `
    const file = await cache.open(data.path)
    const buffer = Buffer.alloc(100000)
    await file.read(buffer, { position: 0 })
    const view = await file.view(4096, 4096)
    const stream = new ReadableStream({ type: 'bytes', pull(controller) { controller.enqueue(view.bytes); controller.close() } })
    await new Response(stream).arrayBuffer()
    let code
    try { view.bytes } catch (error) { code = error.code }
    say(code)
    for (const length of [16, 4096, 100000]) {
      const count = file.tryRead(buffer, { position: 0, length })
      say(buffer.subarray(0, count))
    }
    const again = file.viewSync(4096, 4096)
    say(again.bytes.slice())
    again.dispose()
    view.dispose()
    await file.close()
    await cache.close()`,
    { path: own },
  )
  expect(await said()).toBe('ERR_INVALID_STATE')
  for (const length of [16, 4096, 100_000])
    expect(Buffer.from((await said()) as Uint8Array).equals(CONTENT.subarray(0, length))).toBe(true)
  expect(Buffer.from((await said()) as Uint8Array).equals(CONTENT.subarray(4096, 8192))).toBe(true)
  await ended
  expect(await file.read(buffer.fill(0), { position: 0 })).toBe(buffer.length)
  expect(buffer.equals(CONTENT.subarray(0, buffer.length))).toBe(true)
})

test('a handle that a thread sends on is the next one’s', async () => {
  await using cache = await create()
  await using own = await cache.open(FILE)
  const handle = cache.handle()
  // The first never attaches: it has the second do so, and passes on what that says.
  const second = `
    const { parentPort, workerData } = require('node:worker_threads')
    import('${LIBRARY}').then(async ({ PageCache }) => {
      const cache = await PageCache.attach(workerData.handle)
      const file = await cache.open(workerData.path)
      const buffer = Buffer.alloc(5000)
      await file.read(buffer, { position: 4000 })
      await file.close()
      await cache.close()
      parentPort.postMessage(buffer)
    })`
  const first = `
    const { parentPort, workerData, Worker } = require('node:worker_threads')
    const { handle, path, second } = workerData
    const worker = new Worker(second, { eval: true, workerData: { handle, path }, transferList: [...handle.transferList] })
    worker.on('message', (bytes) => parentPort.postMessage(bytes))`
  const workerData = { handle, path: FILE, second }
  const worker = new Worker(first, { eval: true, workerData, transferList: [...handle.transferList] })
  const [bytes] = await once(worker, 'message')
  expect(Buffer.from(bytes).equals(CONTENT.subarray(4000, 9000))).toBe(true)
  // It is in the same cache.
  expect(own.tryRead(Buffer.alloc(5000), { position: 4000 })).toBe(5000)
  await once(worker, 'exit')
  await eventually(async () => expect(cache.stats()).toMatchObject({ threads: 1, filesOpen: 1 }))
})

test('a call whose arguments cannot be sent rejects, and does not keep its thread alive', async () => {
  await using cache = await create()
  const { said, ended } = cacheWorker(
    cache,
    `
    const file = await cache.open(data.path, 'r+')
    say(await file.exclusive({ length: 1, holder: Symbol('no name') }).then(() => 'granted', (error) => error.name))
    say(await file.read(Buffer.alloc(1), { position: 0 }))
    // Without a close: it ends when there is nothing left to do.
    await new Promise(() => {})`,
    { path: FILE },
  )
  expect(await said()).toBe('DataCloneError')
  expect(await said()).toBe(1)
  await ended
})

test('threads that are killed in the middle of hits, with files and views open, leave nothing', async () => {
  await using cache = await create('4MiB')
  await using file = await cache.open(FILE)
  const before = descriptorsInto(directory).length
  for (let round = 0; round < 12; round++) {
    const { worker, said, ended } = cacheWorker(
      cache,
      `
      const file = await cache.open(data.path)
      const another = await cache.open(data.path)
      await file.advise('willneed')
      const views = []
      for (let i = 0; i < 100; i++) views.push(await file.view(i * 4096 * 5, 4096))
      const buffer = Buffer.alloc(3 * 4096)
      say(views.every((view) => view.isPinned))
      ${round % 3 === 0 ? 'file.read(buffer, { position: 0 }).catch(() => {})' : ''}
      for (let i = 0; ; i++) file.readSync(buffer, { position: (i * 7919) % 2000000 })`,
      { path: FILE },
    )
    expect(await said()).toBe(true)
    // It has the pages that it looks at, whatever else is done.
    cache.resize('256KiB')
    expect(cache.stats().pageBytes + cache.stats().limboBytes).toBeGreaterThanOrEqual(100 * PAGE)
    await worker.terminate()
    await ended
    await eventually(async () => expect(cache.stats()).toMatchObject({ threads: 1, filesOpen: 1 }))
    const buffer = Buffer.alloc(MEBIBYTE)
    expect(file.readSync(buffer, { position: 12_345 })).toBe(MEBIBYTE)
    expect(buffer.equals(CONTENT.subarray(12_345, 12_345 + MEBIBYTE))).toBe(true)
    const { pageBytes, limboBytes, indexBytes, memoryMax } = cache.stats()
    expect(pageBytes + limboBytes + indexBytes).toBeLessThanOrEqual(memoryMax)
    cache.resize('4MiB')
    cache.checkInvariants()
  }
  await eventually(async () => expect(descriptorsInto(directory).length).toBe(before))
})

test('when the cache is closed under its threads they get errors, and never other bytes', async () => {
  const other = path.join(directory, 'other')
  fs.writeFileSync(other, Buffer.alloc(CONTENT.length, 'WRONG'))
  for (let round = 0; round < 4; round++) {
    const cache = await create()
    const threads = [0, 1].map((i) =>
      cacheWorker(
        cache,
        `
        const content = require('node:fs').readFileSync(data.path)
        const file = await cache.open(data.path)
        await file.advise('willneed', 0, 1048576)
        const buffer = Buffer.alloc(2 * 4096)
        say('ready')
        let reads = 0
        try {
          for (;; reads++) {
            const position = (reads * 7919) % 2000000
            const count = data.async ? await file.read(buffer, { position }) : file.readSync(buffer, { position })
            if (!buffer.subarray(0, count).equals(content.subarray(position, position + buffer.length))) {
              say(count + ' wrong bytes at ' + position + ': ' + buffer.toString('latin1', 0, 20))
              return
            }
          }
        } catch (error) {
          say(error.code)
        }`,
        { path: FILE, async: i === 1 },
      ),
    )
    for (const { said } of threads) expect(await said()).toBe('ready')
    await new Promise((resolve) => setTimeout(resolve, 20 + round * 5))
    const closing = cache.close()
    // Whoever uses a descriptor of the cache from now on gets this file.
    const stolen = Array.from({ length: 20 }, () => fs.openSync(other, 'r'))
    await closing
    for (const { said } of threads) expect(await said()).toBe('ECONNRESET')
    for (const fd of stolen) fs.closeSync(fd)
    for (const { ended } of threads) await ended
  }
})

test('a view that outlives its thread’s part in the cache lets nobody else’s page go', async () => {
  await using cache = await create('4MiB')
  const first = cacheWorker(
    cache,
    `
    const file = await cache.open(data.path)
    const view = await file.view(8192, 4096)
    await file.close()
    await cache.close()
    say(view.isPinned)
    await new Promise((resolve) => require('node:worker_threads').parentPort.once('message', resolve))
    view.dispose()
    say('disposed')`,
    { path: FILE },
  )
  expect(await first.said()).toBe(true)
  await eventually(async () => expect(cache.stats().threads).toBe(1))
  const other = path.join(directory, 'other')
  fs.writeFileSync(other, noise(2 * MEBIBYTE, 5))
  // It gets the number that the first one had, and so its pins.
  const second = cacheWorker(
    cache,
    `
    const file = await cache.open(data.path)
    const view = await file.view(8192, 4096)
    const page = Buffer.from(view.bytes)
    say(view.isPinned)
    await new Promise((resolve) => require('node:worker_threads').parentPort.once('message', resolve))
    say(Buffer.from(view.bytes).equals(page))
    view.dispose()
    await file.close()`,
    { path: other },
  )
  expect(await second.said()).toBe(true)
  first.worker.postMessage('go on')
  expect(await first.said()).toBe('disposed')
  const large = path.join(directory, 'large')
  fs.writeFileSync(large, noise(16 * MEBIBYTE, 6))
  await using file = await cache.open(large)
  const buffer = Buffer.alloc(MEBIBYTE)
  for (let position = 0; position < 16 * MEBIBYTE; position += MEBIBYTE) await file.read(buffer, { position })
  second.worker.postMessage('look')
  expect(await second.said()).toBe(true)
  await first.ended
  await second.ended
})

test('attaching to a cache that has been closed is refused, whenever it was', async () => {
  const cache = await create()
  const threads = [cacheWorker(cache, ''), cacheWorker(cache, '', {}, true)]
  const handle = cache.handle()
  await cache.close()
  for (const { ended } of threads) await expect(ended).rejects.toMatchObject({ code: 'ECONNRESET' })
  await expect((await builtLibrary()).PageCache.attach(handle)).rejects.toMatchObject({ code: 'ECONNRESET' })
})

test('a read of more than 2 GiB, which one call of Node.js does not take, has all bytes', async () => {
  const sparse = path.join(directory, 'sparse')
  const size = 2 ** 31 + PAGE
  fs.writeFileSync(sparse, '')
  fs.truncateSync(sparse, size)
  fs.appendFileSync(sparse, 'end')
  await using cache = await create()
  const { said, ended } = cacheWorker(
    cache,
    `
    const file = await cache.open(data.sparse)
    const buffer = Buffer.alloc(data.size + 3)
    say([file.readSync(buffer, { position: 0 }), buffer.toString('latin1', data.size)])
    await file.close()`,
    { sparse, size },
  )
  expect(await said()).toEqual([size + 3, 'end'])
  await ended
})

test.each(['process.exit()', 'throw new Error("it fails")', ''])(
  'a worker that made a cache, and ends without closing it, leaves nothing: %s',
  async (end) => {
    const before = { descriptors: descriptorsInto(directory).length, bytes: arenaBytes() }
    const code = `
      import { parentPort, workerData } from 'node:worker_threads'
      const { PageCache } = await import(workerData.library)
      const cache = await PageCache.create({ memory: '32MiB' })
      const file = await cache.open(workerData.file)
      await file.advise('willneed')
      parentPort.postMessage(cache.stats().pageBytes)
      await new Promise((resolve) => parentPort.once('message', resolve))
      ${end}`
    const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`)
    const worker = new Worker(url, { workerData: { library: LIBRARY, file: FILE } })
    worker.on('error', () => {})
    const [pageBytes] = await once(worker, 'message')
    expect(pageBytes).toBe(CONTENT.length)
    expect(arenaBytes()).toBeGreaterThanOrEqual(before.bytes + CONTENT.length)
    const ended = new Promise((resolve) => worker.once('exit', resolve))
    worker.postMessage('end')
    await ended
    expect({ descriptors: descriptorsInto(directory).length, bytes: arenaBytes() }).toEqual(before)
  },
)

test('a worker may make as many caches as it likes, and leaves nothing of those that it did not close', async () => {
  const before = { descriptors: descriptorsInto(directory).length, bytes: arenaBytes() }
  const code = `
    import { parentPort, workerData } from 'node:worker_threads'
    const { PageCache } = await import(workerData.library)
    const caches = []
    for (let i = 0; i < 12; i++) caches.push(await PageCache.create({ memory: '1MiB' }))
    await caches[3].close()
    parentPort.postMessage(process.listenerCount('exit'))`
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`)
  const worker = new Worker(url, { workerData: { library: LIBRARY } })
  const ended = once(worker, 'exit')
  const [listeners] = await once(worker, 'message')
  // More than ten would be taken for a leak.
  expect(listeners).toBeLessThan(10)
  await ended
  expect({ descriptors: descriptorsInto(directory).length, bytes: arenaBytes() }).toEqual(before)
})
