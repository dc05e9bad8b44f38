/** Reads a file from one end to the other, cold: in blocks one after the other, or as a stream. */
import fs from 'node:fs'
import { PageCache } from '../../src/library/page-cache.ts'
import type { ScanTask } from '../client.ts'
import { answer, task } from './support.ts'

const { side, file: path, way, direct } = task<ScanTask>()
const size = fs.statSync(path).size
const buffer = Buffer.alloc(2 ** 16)
answer(side === 'samepage' ? await scanThroughCache() : await scanNatively())

async function scanThroughCache(): Promise<object> {
  await using cache = await PageCache.create({ memory: 1.1 * size, direct, share: false, yieldUnderPressure: false })
  const began = performance.now()
  await using file = await cache.open(path)
  const count =
    way === 'stream' ? await drain(file.createReadStream()) : await readAll((at) => file.read(buffer, { position: at }))
  return { count, seconds: (performance.now() - began) / 1000 }
}

async function scanNatively(): Promise<object> {
  const began = performance.now()
  const file = await fs.promises.open(path)
  const read = async (at: number) => (await file.read(buffer, 0, buffer.length, at)).bytesRead
  const count = way === 'stream' ? await drain(fs.createReadStream(path)) : await readAll(read)
  await file.close()
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
