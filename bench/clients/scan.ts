/**
 * Reads a file from one end to the other, cold: in blocks one after the other, or as a stream. It does so twice, and forgets the file in between: the
 * first time the system finds the memory, which is not what is measured.
 */
import fs from 'node:fs'
import { forgetFile } from '../../src/demo/reading.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import type { ScanTask } from '../client.ts'
import { answer, task } from './support.ts'

/** Less than the file: pages have to go. */
const CACHE_BYTES = 64 * 2 ** 20

const { side, file: path, way, direct } = task<ScanTask>()
const buffer = Buffer.alloc(2 ** 16)
answer(side === 'samepage' ? await scanThroughCache() : await scanNatively())

async function scanThroughCache(): Promise<object> {
  await using cache = await PageCache.create({ memory: CACHE_BYTES, direct, share: false, yieldUnderPressure: false })
  await using file = await cache.open(path)
  const scan = () =>
    way === 'stream' ? drain(file.createReadStream()) : readAll((position) => file.read(buffer, { position }))
  await scan()
  await file.advise('dontneed')
  return await timed(scan)
}

async function scanNatively(): Promise<object> {
  await using file = await fs.promises.open(path)
  const read = async (at: number) => (await file.read(buffer, 0, buffer.length, at)).bytesRead
  const scan = () => (way === 'stream' ? drain(fs.createReadStream(path)) : readAll(read))
  await scan()
  return await timed(scan)
}

async function timed(scan: () => Promise<number>): Promise<object> {
  forgetFile(path)
  const began = performance.now()
  const count = await scan()
  return { count, seconds: (performance.now() - began) / 1000 }
}

async function readAll(read: (position: number) => Promise<number>): Promise<number> {
  let position = 0
  for (let count = 1; count > 0; position += count) count = await read(position)
  return position
}

async function drain(stream: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0
  for await (const chunk of stream) bytes += chunk.length
  return bytes
}
