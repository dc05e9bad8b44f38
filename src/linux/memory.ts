/** Memory of this process, which all its threads reach and which is given back page by page; and memory that is a file, memfd_create(2), for other processes. */
import fs from 'node:fs'
import koffi from 'koffi'
import { throwIfNegative } from './errors.ts'
import { fcntl } from './fcntl.ts'
import { close } from './file.ts'
import { isKernelOlder } from './kernel-version.ts'
import { mapNothing, mapNothingAt, mapZerosAt, unmapFile } from './mapping.ts'
import { check, cString, libc, type Pointer } from './native.ts'

const memfdCreateCall = libc<[name: Pointer, flags: number]>('memfd_create', 'int', ['void*', 'uint'])
const ftruncateCall = libc<[fd: number, size: number]>('ftruncate', 'int', ['int', 'int64'])
const madviseCall = libc<[address: number | bigint, length: number, advice: number]>('madvise', 'int', [
  'size_t',
  'size_t',
  'int',
])

const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
const F_ADD_SEALS = 1033
const F_SEAL_SEAL = 1
const F_SEAL_SHRINK = 2
const F_SEAL_GROW = 4
const MADV_DONTNEED = 4
const MADV_DONTFORK = 10
const MADV_HUGEPAGE = 14
const MADV_NOHUGEPAGE = 15
const MADV_COLD = 20
const HUGE_PAGES_ENABLED = '/sys/kernel/mm/transparent_hugepage/enabled'
/** x86-64's and arm64's, with pages of 4 KiB. */
export const HUGE_PAGE_BYTES = 2 ** 21
/** koffi on Node.js 20 ends the process over a view of 4 GiB. */
const SEGMENT_BYTES = 2 ** 30

/** By the address of memory that was taken, where its place begins. */
const places = new Map<number, number>()

/** A descriptor of `bytes` of memory, all zeros and not taken yet. Throws a SystemError. `name` is for /proc/PID/maps. */
export function createMemory(name: string, bytes: number): number {
  return preparedMemory(name, MFD_CLOEXEC, (fd) => check(ftruncateCall(fd, bytes), 'ftruncate'))
}

/** As {@link createMemory}, of a size that nobody who gets the descriptor can change. */
export function createFixedMemory(name: string, bytes: number): number {
  return preparedMemory(name, MFD_CLOEXEC | MFD_ALLOW_SEALING, (fd) => {
    check(ftruncateCall(fd, bytes), 'ftruncate')
    throwIfNegative(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), 'fcntl')
  })
}

/** A descriptor, which is closed where `prepare` throws. */
function preparedMemory(name: string, flags: number, prepare: (fd: number) => void): number {
  const fd = check(memfdCreateCall(cString(name), flags), 'memfd_create')
  try {
    prepare(fd)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

/** Whether the system gives huge pages to memory that asks for them, and can split them again (MADV_COLD, Linux 5.4). */
export function givesHugePages(): boolean {
  try {
    return !isKernelOlder(5, 4) && !fs.readFileSync(HUGE_PAGES_ENABLED, 'latin1').includes('[never]')
  } catch {
    // The kernel was built without, or /sys is not mounted.
    return false
  }
}

/**
 * Takes `bytes` of this process's memory (a multiple of 4096), all zeros and not in use yet: the address, which begins a huge page. All threads reach it, by {@link viewMemory}. Throws a SystemError.
 * It is never taken away: a view that somebody still has would end the process when touched. After {@link leaveMemory} it costs address space only (and with `vm.overcommit_memory=2`, where nothing is
 * taken that is not there, its size).
 *
 * Anonymous memory: that of a memfd gets no huge pages unless the administrator has asked for them (`shmem_enabled`). With `hugePages` it has them as
 * {@link adviseHugePages} says, else none. Child processes do not inherit it.
 */
export function takeMemory(bytes: number, hugePages: boolean): number {
  const place = check(mapNothing(bytes + HUGE_PAGE_BYTES), 'mmap')
  const address = Math.ceil(place / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  try {
    // What is left of the place on its sides is for reading only: so the kernel makes no one mapping of this memory and what lies beside it.
    check(mapZerosAt(address, bytes), 'mmap')
    check(madviseCall(address, bytes, MADV_DONTFORK), 'madvise')
  } catch (error) {
    unmapFile(place, bytes + HUGE_PAGE_BYTES)
    throw error
  }
  places.set(address, place)
  if (hugePages) adviseHugePagesAt(address, bytes)
  else madviseCall(address, bytes, MADV_NOHUGEPAGE)
  return address
}

/**
 * Memory that this thread has taken, and given back, is used no more: for who still has a view of it there are zeros. The whole place becomes one untouched mapping without flags of its own, and the
 * kernel makes one of all such that lie side by side: a process can have some 65,000 (`vm.max_map_count`), and may make and close more caches than that.
 */
export function leaveMemory(address: number, bytes: number): void {
  const place = places.get(address)
  if (place === undefined) return
  places.delete(address)
  const length = bytes + HUGE_PAGE_BYTES
  // With `vm.overcommit_memory=2` somebody else may take what this gives up first. What can only be read needs nothing.
  if (mapZerosAt(place, length) < 0) mapNothingAt(place, length)
}

/** The bytes at an address, in segments of {@link SEGMENT_BYTES} (the last may be shorter). */
export function viewMemory(address: number, bytes: number): Uint8Array[] {
  const segments: Uint8Array[] = []
  for (let at = 0; at < bytes; at += SEGMENT_BYTES)
    segments.push(new Uint8Array(koffi.view(address + at, Math.min(SEGMENT_BYTES, bytes - at))))
  return segments
}

/** Memory that was taken gets no huge pages from now on, neither when it is touched nor, which the kernel does in its own time, in place of the small ones that it has. */
export function forgoHugePages(memory: Uint8Array): void {
  madviseCall(Number(koffi.address(memory)), memory.length, MADV_NOHUGEPAGE)
}

/**
 * Gives whole pages of memory that was taken back to the system: from now on they are zeros. They can be used again. Where the process has its memory locked (mlockall) it keeps them as they
 * are. With huge pages {@link forgoHugePages} first: else the next touch of one of them takes all around it, and the kernel fills up what is missing in a huge page.
 */
export function giveBackMemory(memory: Uint8Array): void {
  const address = Number(koffi.address(memory))
  // This splits a huge page of which they are a part: else that would stay in memory as a whole.
  if (address % HUGE_PAGE_BYTES !== 0 || memory.length % HUGE_PAGE_BYTES !== 0)
    madviseCall(address, memory.length, MADV_COLD)
  madviseCall(address, memory.length, MADV_DONTNEED)
}

/**
 * Asks for huge pages under the whole ones that `buffer` covers: random access to some megabytes needs more translations than a processor remembers. Where the system has
 * none to give (`/sys/kernel/mm/transparent_hugepage/enabled` says `never`) nothing changes. A touched word takes up to 2 MiB of memory then.
 */
export function adviseHugePages(buffer: SharedArrayBuffer): void {
  // Of its beginning: on Node.js 20 an array has at most 2^32 elements.
  adviseHugePagesAt(Number(koffi.address(new Uint8Array(buffer, 0, 1))), buffer.byteLength)
}

function adviseHugePagesAt(address: number, bytes: number): void {
  const start = Math.ceil(address / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  const end = Math.floor((address + bytes) / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  if (end > start) madviseCall(start, end - start, MADV_HUGEPAGE)
}
