/** mmap(2) of files, shared, and of nothing: for a moment, or for good. Any thread; all hold the process's address space lock. */
import { libc, type Pointer } from './native.ts'

const mmapCall = libc<
  [address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number]
>('mmap', 'long', ['void*', 'size_t', 'int', 'int', 'int', 'int64'])
const mmapAtCall = libc<
  [address: number, length: number, protection: number, flags: number, fd: number, offset: number]
>('mmap', 'long', ['size_t', 'size_t', 'int', 'int', 'int', 'int64'])
const munmapCall = libc<[address: number, length: number]>('munmap', 'int', ['void*', 'size_t'])

const MAP_SHARED = 1
const MAP_PRIVATE = 2
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = 0x20
const MAP_NORESERVE = 0x4000
const OF_NOTHING = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE

export const PROT = { NONE: 0, READ: 1, READ_WRITE: 3 } as const

/** Maps `length` bytes of what `fd` is open on, from `offset` (a multiple of 4096) on: what C returns, the address or -1. */
export function mapFile(fd: number, offset: number, length: number, protection: number): number {
  return mmapCall(null, length, protection, MAP_SHARED, fd, offset)
}

/** As {@link mapFile}, at `address`, in place of what is there: which is gone also where this fails. */
export function mapFileAt(address: number, fd: number, offset: number, length: number, protection: number): number {
  return mmapAtCall(address, length, protection, MAP_SHARED | MAP_FIXED, fd, offset)
}

/** Maps `length` bytes of zeros, for reading, which take no memory: the address or -1. */
export function mapNothing(length: number): number {
  return mmapAtCall(0, length, PROT.READ, OF_NOTHING, -1, 0)
}

/** The same in place of what is at `address`, in one step. */
export function mapNothingAt(address: number, length: number): number {
  return mmapAtCall(address, length, PROT.READ, OF_NOTHING | MAP_FIXED, -1, 0)
}

/** `length` bytes of memory that are zeros first, in place of what is at `address`: that, or -1. */
export function mapZerosAt(address: number, length: number): number {
  return mmapAtCall(address, length, PROT.READ_WRITE, OF_NOTHING | MAP_FIXED, -1, 0)
}

/** What is touched at the address after this ends the process. */
export function unmapFile(address: number, length: number): void {
  munmapCall(address, length)
}
