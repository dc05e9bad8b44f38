/** Overwrites a file, block by block. */
import fs from 'node:fs'
import type { WriteTask } from '../client.ts'
import { answer, shuffled, task } from './support.ts'

const { file, order, blockBytes, blocks, sync } = task<WriteTask>()
const block = Buffer.alloc(blockBytes, 'written by the benchmark ')
const fd = fs.openSync(file, 'r+')
const inFile = Math.floor(fs.fstatSync(fd).size / blockBytes)
const places = order === 'random' ? shuffled(inFile) : Uint32Array.from({ length: inFile }, (_, i) => i)

const began = performance.now()
for (let i = 0; i < blocks; i++) {
  fs.writeSync(fd, block, 0, blockBytes, places[i % inFile]! * blockBytes)
  if (sync === 'each') fs.fdatasyncSync(fd)
}
if (sync === 'at the end') fs.fsyncSync(fd)
answer({ count: blocks, seconds: (performance.now() - began) / 1000 })
fs.closeSync(fd)
