/** Maps a file and touches each of its pages, in random order: page faults, and what is between them. */

import fs from 'node:fs'
import koffi from 'koffi'
import { O_RDONLY, open } from '../../src/linux/file.ts'
import { libc, type Pointer } from '../../src/linux/native.ts'
import type { MapTask } from '../client.ts'
import { answer, must, shuffled, task } from './support.ts'

const PAGE_BYTES = 4096
const PROT_READ = 1
const MAP_SHARED = 1
const mmap = libc<
  [address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number],
  number
>('mmap', 'long', ['void*', 'size_t', 'int', 'int', 'int', 'int64'])

const { file, passes } = task<MapTask>()
const size = fs.statSync(file).size
const fd = open(file, O_RDONLY)
const order = shuffled(Math.floor(size / PAGE_BYTES))
let sum = 0
let seconds = 0
for (let pass = 0; pass < passes; pass++) {
  // Never unmapped: a view of memory that has gone would end the process if it were touched.
  const address = must(mmap(null, size, PROT_READ, MAP_SHARED, fd, 0), `mmap ${file}`)
  const bytes = new Uint8Array(koffi.view(BigInt(address), size))
  const began = performance.now()
  for (let i = 0; i < order.length; i++) sum += bytes[order[i]! * PAGE_BYTES]!
  seconds += (performance.now() - began) / 1000
}
answer({ count: passes * order.length, seconds, sum })
