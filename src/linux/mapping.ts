/** mmap(2) of files, shared: for a moment, or for good. Any thread; both hold the process's address space lock. */
import { libc, type Pointer } from './native.ts'

const mmapCall = libc<
  [address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number]
>('mmap', 'long', ['void*', 'size_t', 'int', 'int', 'int', 'int64'])
const munmapCall = libc<[address: number, length: number]>('munmap', 'int', ['void*', 'size_t'])

const MAP_SHARED = 1

export const PROT = { NONE: 0, READ: 1, READ_WRITE: 3 } as const

/** Maps `length` bytes of what `fd` is open on, from `offset` (a multiple of 4096) on: what C returns, the address or -1. */
export function mapFile(fd: number, offset: number, length: number, protection: number): number {
  return mmapCall(null, length, protection, MAP_SHARED, fd, offset)
}

/** What is touched at the address after this ends the process. */
export function unmapFile(address: number, length: number): void {
  munmapCall(address, length)
}
