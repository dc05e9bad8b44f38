/** Anonymous memory with the bytes of a file, which the kernel may merge (KSM). Says so once it is there, and holds it until its input ends. */
import fs from 'node:fs'
import koffi from 'koffi'
import { libc, type Pointer } from '../../src/linux/native.ts'
import { must, task } from './support.ts'

const PROT_READ_WRITE = 3
const MAP_PRIVATE_ANONYMOUS = 0x22
const MADV_MERGEABLE = 12
/** Huge pages would have to be split first. */
const MADV_NOHUGEPAGE = 15

const mmap = libc<[Pointer, number, number, number, number, number], number>('mmap', 'long', [
  'void*',
  'size_t',
  'int',
  'int',
  'int',
  'int64',
])
const madvise = libc<[number, number, number]>('madvise', 'int', ['long' as 'size_t', 'size_t', 'int'])

const { file } = task<{ readonly file: string }>()
const { size } = fs.statSync(file)
const address = must(mmap(null, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), 'mmap')
must(madvise(address, size, MADV_NOHUGEPAGE), 'madvise')
const bytes = new Uint8Array(koffi.view(address, size))
const fd = fs.openSync(file, 'r')
for (let done = 0; done < size; ) done += fs.readSync(fd, bytes, done, Math.min(1 << 20, size - done), done)
fs.closeSync(fd)
must(madvise(address, size, MADV_MERGEABLE), 'madvise')
process.stdout.write('ready')
process.stdin.resume()
