/** mmap(2) of a whole file, all of it read at once. */
import { check, libc, type Pointer } from '../src/linux/native.ts'

const mmap = libc<
  [address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number],
  number
>('mmap', 'long', ['void*', 'size_t', 'int', 'int', 'int', 'int64'])
const munmap = libc<[address: number, length: number]>('munmap', 'int', ['void*', 'size_t'])

const PROT_READ = 1
const MAP_SHARED = 1
const MAP_POPULATE = 0x8000

/** Maps the first `length` bytes of what `fd` is open on and has the kernel read them all. Returns how to unmap them. */
export function mapWhole(fd: number, length: number): () => void {
  const address = check(mmap(null, length, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0), 'mmap')
  return () => {
    check(munmap(address, length), 'munmap')
  }
}
