/** Streams of a file: their chunks, and their ends before the file's. */
import { once } from 'node:events'
import fs from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { expect, test } from 'vitest'
import { PageCache } from '../../../src/index.ts'
import { noise } from '../../support/files.ts'
import { scratchFiles } from '../../support/scratch-files.ts'

const fileOf = scratchFiles()
const CONTENT = noise(200_000, 1)

async function setUp() {
  const cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false })
  return { cache, file: await cache.open(fileOf(CONTENT)) }
}

test('a chunk has highWaterMark bytes, 64 KiB where it is not given', async () => {
  const { cache, file } = await setUp()
  for (const [options, size] of [
    [{ highWaterMark: 7000 }, 7000],
    [{ highWaterMark: 150_000 }, 150_000],
    [{}, 64 * 1024],
  ] as const) {
    const lengths: number[] = []
    for await (const chunk of file.createReadStream(options)) lengths.push((chunk as Buffer).length)
    const whole = Math.floor(CONTENT.length / size)
    expect(lengths).toEqual([...Array.from({ length: whole }, () => size), CONTENT.length % size])
  }
  await cache.close()
})

test('pipeline writes all of it', async () => {
  const { cache, file } = await setUp()
  const target = fileOf(Buffer.alloc(0))
  await pipeline(file.createReadStream(), fs.createWriteStream(target))
  expect(fs.readFileSync(target).equals(CONTENT)).toBe(true)
  await cache.close()
})

test('who stops early, by break or by destroy, reads no further, and the file is as it was', async () => {
  const { cache, file } = await setUp()
  const stream = file.createReadStream({ highWaterMark: 1000 })
  let count = 0
  for await (const _ of stream) if (++count === 3) break
  expect(stream.destroyed).toBe(true)
  const other = file.createReadStream({ highWaterMark: 1000 })
  other.on('data', () => count++)
  other.destroy(new Error('mine'))
  const [error] = await once(other, 'error')
  expect([error.message, count]).toEqual(['mine', 3])
  // With a read under way.
  const last = file.createReadStream()
  last.resume()
  await new Promise(setImmediate)
  last.destroy()
  await once(last, 'close')
  const buffer = Buffer.alloc(CONTENT.length)
  expect(await file.read(buffer, { position: 0 })).toBe(CONTENT.length)
  expect(buffer.equals(CONTENT)).toBe(true)
  await file.close()
  await cache.close()
})

test('a stream whose file is closed meanwhile fails with EBADF', async () => {
  const { cache, file } = await setUp()
  let count = 0
  const reading = (async () => {
    for await (const _ of file.createReadStream({ highWaterMark: 1000 })) if (++count === 2) await file.close()
  })()
  await expect(reading).rejects.toMatchObject({ code: 'EBADF', syscall: 'read', path: file.path })
  await cache.close()
})
