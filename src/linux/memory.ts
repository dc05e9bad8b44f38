/**
 * Memory that is a file: memfd_create(2), mapped in segments, given back page by page. Any thread can map the same descriptor.
 *
 * A mapping is never taken back: a view over it that somebody still has would kill the process when touched. It costs address space
 * only, once its pages were given back.
 */
import koffi from 'koffi'
import { mapFile, PROT } from './mapping.ts'
import { check, cString, libc, type Pointer } from './native.ts'

const memfdCreateCall = libc<[name: Pointer, flags: number]>('memfd_create', 'int', ['void*', 'uint'])
const ftruncateCall = libc<[fd: number, size: number]>('ftruncate', 'int', ['int', 'int64'])
const madviseCall = libc<[address: number | bigint, length: number, advice: number]>('madvise', 'int', [
  'size_t',
  'size_t',
  'int',
])

const fcntlCall = libc<[fd: number, command: number, argument: number]>('fcntl', 'int', ['int', 'int', 'int'])

const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
const F_ADD_SEALS = 1033
const F_SEAL_SEAL = 1
const F_SEAL_SHRINK = 2
const F_SEAL_GROW = 4
const MADV_HUGEPAGE = 14
const HUGE_PAGE_BYTES = 2 ** 21
/** koffi on Node.js 20 ends the process over a view of 4 GiB. */
export const SEGMENT_BYTES = 2 ** 30

/** A descriptor of `bytes` of memory, all zeros and not taken yet. Throws a SystemError. `name` is for /proc/PID/maps. */
export function createMemory(name: string, bytes: number): number {
  const fd = check(memfdCreateCall(cString(name), MFD_CLOEXEC), 'memfd_create')
  check(ftruncateCall(fd, bytes), 'ftruncate')
  return fd
}

/** As {@link createMemory}, of a size that nobody who gets the descriptor can change. */
export function createFixedMemory(name: string, bytes: number): number {
  const fd = check(memfdCreateCall(cString(name), MFD_CLOEXEC | MFD_ALLOW_SEALING), 'memfd_create')
  check(ftruncateCall(fd, bytes), 'ftruncate')
  check(fcntlCall(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), 'fcntl')
  return fd
}

/** Maps `bytes` of what `fd` is open on, in segments of {@link SEGMENT_BYTES} (the last may be shorter). Throws a SystemError. */
export function mapMemory(fd: number, bytes: number): Uint8Array[] {
  const segments: Uint8Array[] = []
  for (let at = 0; at < bytes; at += SEGMENT_BYTES) {
    const length = Math.min(SEGMENT_BYTES, bytes - at)
    const address = check(mapFile(fd, at, length, PROT.READ_WRITE), 'mmap')
    segments.push(new Uint8Array(koffi.view(address, length)))
  }
  return segments
}

/**
 * Asks for huge pages under the whole ones that `buffer` covers: random access to some megabytes needs more translations than a processor remembers. Where the system has
 * none to give (`/sys/kernel/mm/transparent_hugepage/enabled` says `never`) nothing changes. A touched word takes up to 2 MiB of memory then.
 */
export function adviseHugePages(buffer: SharedArrayBuffer): void {
  const address = Number(koffi.address(new Uint8Array(buffer)))
  const start = Math.ceil(address / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  const end = Math.floor((address + buffer.byteLength) / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  if (end > start) madviseCall(start, end - start, MADV_HUGEPAGE)
}
