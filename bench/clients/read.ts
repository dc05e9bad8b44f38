/** Reads blocks of a file with pread(2), in order or at random. */
import fs from 'node:fs'
import { O_RDONLY, open, pread } from '../../src/linux/file.ts'
import type { ReadTask } from '../client.ts'
import { answer, must, shuffled, task } from './support.ts'

const { file, order, blockBytes, blocks, startAtMs } = task<ReadTask>()
const inFile = Math.floor(fs.statSync(file).size / blockBytes)
const offsets = Float64Array.from(order === 'random' ? shuffled(inFile) : Array(inFile).keys(), (i) => i * blockBytes)
const buffer = new Uint8Array(blockBytes)
const fd = open(file, O_RDONLY)
if (startAtMs !== undefined) while (Date.now() < startAtMs);

const began = performance.now()
for (let i = 0, next = 0; i < blocks; i++, next = next + 1 === inFile ? 0 : next + 1) {
  const length = pread(fd, buffer, blockBytes, offsets[next]!)
  if (length !== blockBytes) must(length < 0 ? length : -1, `read ${file}`)
}
answer({ count: blocks, seconds: (performance.now() - began) / 1000 })
