/** A view's buffer is a segment of the cache's memory. Who transfers it takes it from the thread, and the cache has to get over that. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { PageCache, type PageCacheOptions } from '../../../src/index.ts'
import { noise, PAGE } from '../../support/files.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-transferred-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

const content = noise(64 * PAGE, 1)
const file = path.join(directory, 'file')

async function setUp(options: Partial<PageCacheOptions> = {}) {
  fs.writeFileSync(file, content)
  const cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false, ...options })
  const opened = await cache.open(file, 'r+')
  return { cache, file: opened }
}

/** As `new Response(stream)` does it, among others. */
async function stream(bytes: Uint8Array): Promise<Uint8Array> {
  const source = new ReadableStream({
    type: 'bytes',
    pull(controller) {
      controller.enqueue(bytes as Uint8Array<ArrayBuffer>)
      controller.close()
    },
  })
  return new Uint8Array(await new Response(source).arrayBuffer())
}

test('reads, views, writes and grants go on with right bytes', async () => {
  const { cache, file } = await setUp()
  await file.advise('willneed', 0, 32 * PAGE)
  for (let round = 0; round < 3; round++) {
    const view = await file.view(0, PAGE)
    const long = await file.view(PAGE, 2 * PAGE)
    expect(Buffer.compare(await stream(view.bytes), content.subarray(0, PAGE))).toBe(0)
    const transferred = expect.objectContaining({
      code: 'ERR_INVALID_STATE',
      message: expect.stringContaining('slice()'),
    })
    for (const each of [view, long]) {
      expect(() => each.bytes).toThrow(transferred)
      expect(() => each.parts).toThrow(transferred)
      each.dispose()
    }
    // Cached ones, and from page 32 on those that are loaded now.
    for (const page of [1, 5, 33 + round * 8])
      for (const length of [1, 16, 64, 65, PAGE, 3 * PAGE]) {
        const wanted = content.subarray(page * PAGE + 7, page * PAGE + 7 + length)
        const buffer = Buffer.alloc(length, '#')
        const options = { position: page * PAGE + 7 }
        expect(await file.read(buffer, options)).toBe(length)
        expect(buffer.equals(wanted)).toBe(true)
        expect(file.tryRead(buffer.fill('#'), options)).toBe(length)
        expect(buffer.equals(wanted)).toBe(true)
        using again = file.viewSync(options.position, length)
        expect([again.length, again.isPinned, Buffer.from(again.bytes).equals(wanted)]).toEqual([length, true, true])
      }
  }
  await stream((await file.view(0, PAGE)).bytes)
  await using grant = await file.exclusive({ position: 0, length: PAGE })
  expect(Buffer.compare(grant.bytes, content.subarray(0, PAGE))).toBe(0)
  await grant.publish()
  await stream((await file.view(PAGE, PAGE)).bytes)
  await file.write(content.subarray(0, 2 * PAGE), { position: 0 })
  using view = await file.view(0, PAGE)
  expect(Buffer.compare(view.bytes, content.subarray(0, PAGE))).toBe(0)
  cache.checkInvariants()
  cache.resize('1MiB')
  await file.close()
  await cache.close()
})

test('a load that is under way has its bytes', async () => {
  const { cache, file } = await setUp()
  using view = await file.view(0, PAGE)
  const buffer = Buffer.alloc(60 * PAGE)
  const reading = file.read(buffer, { position: 4 * PAGE })
  await stream(view.bytes)
  expect(() => view.bytes).toThrow('transferred')
  expect(await reading).toBe(60 * PAGE)
  expect(buffer.equals(content.subarray(4 * PAGE))).toBe(true)
  await file.close()
  await cache.close()
})

test('the scan for equal pages goes on', async () => {
  const { cache, file } = await setUp({ merge: { onLoad: false, cpu: 1 } })
  await file.advise('willneed')
  using view = await file.view(0, PAGE)
  await stream(view.bytes)
  for (let i = 0; i < 100 && cache.stats().merge!.fullScans === 0; i++) await sleep(50)
  expect(cache.stats().merge!.pagesScanned).toBeGreaterThanOrEqual(64)
  cache.checkInvariants()
  await file.close()
  await cache.close()
})

test('a copy can be sent anywhere', async () => {
  const { cache, file } = await setUp()
  using view = await file.view(100, 1000)
  expect(Buffer.compare(await stream(view.bytes.slice()), content.subarray(100, 1100))).toBe(0)
  expect(view.bytes.length).toBe(1000)
  await file.close()
  await cache.close()
})
