/** Reads files from one end to the other, one after the other: through a cache, or as they are. */
import fs from 'node:fs'
import { processBytes } from '../../src/demo/measure.ts'
import { PageCache } from '../../src/library/page-cache.ts'
import type { ClonesAnswer, ClonesTask } from '../client.ts'
import { PAGE_BYTES, pagesOf } from '../held.ts'
import { answer, task } from './support.ts'

const BLOCK_BYTES = 2 ** 20

const { side, files } = task<ClonesTask>()
const buffer = Buffer.alloc(BLOCK_BYTES)
const kernelBytes = () => files.reduce((sum, file) => sum + pagesOf(file) * PAGE_BYTES, 0)
answer(side === 'samepage' ? await readThroughCache() : readNatively())

async function readThroughCache(): Promise<ClonesAnswer> {
  const total = files.reduce((sum, file) => sum + fs.statSync(file).size, 0)
  // Room for all, if nothing were shared.
  await using cache = await PageCache.create({ memory: 1.1 * total, yieldUnderPressure: false })
  const before = processBytes(process.pid)
  const memory = () => processBytes(process.pid) - before + kernelBytes()
  const held = () => cache.stats().pageBytes + cache.stats().indexBytes
  const one = { seconds: await read(cache, files.slice(0, 1)), memory: memory(), held: held() }
  const rest = { seconds: await read(cache, files.slice(1)), memory: memory(), held: held() }
  return {
    seconds: one.seconds + rest.seconds,
    timesMemory: rest.memory / one.memory,
    timesHeld: rest.held / one.held,
  }
}

/** Seconds. */
async function read(cache: PageCache, paths: readonly string[]): Promise<number> {
  const began = performance.now()
  for (const path of paths) {
    await using file = await cache.open(path)
    for (let position = 0, count = 1; count > 0; position += count) count = await file.read(buffer, { position })
  }
  return (performance.now() - began) / 1000
}

function readNatively(): ClonesAnswer {
  const began = performance.now()
  for (const path of files) {
    const fd = fs.openSync(path, 'r')
    while (fs.readSync(fd, buffer) > 0);
    fs.closeSync(fd)
  }
  const seconds = (performance.now() - began) / 1000
  const times = kernelBytes() / (pagesOf(files[0]!) * PAGE_BYTES)
  return { seconds, timesMemory: times, timesHeld: times }
}
