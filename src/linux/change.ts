/**
 * Calls that change what a file is or holds. All return -errno on failure. Offsets and lengths in bytes: numbers, or bigints
 * where they may be 2^53 and more.
 */
import os from 'node:os'
import { addressOf, cString, errnoOf, libc, type Pointer } from './native.ts'
import { AT_EMPTY_PATH, AT_FDCWD } from './statx.ts'

const pwriteCall = libc<[fd: number, buffer: Pointer, length: number, offset: number | bigint]>('pwrite', 'long', [
  'int',
  'void*',
  'size_t',
  'int64',
])
const pwritev2Call = libc<
  [number: number, fd: number, vector: Pointer, count: number, offset: number, offsetHigh: number, flags: number]
>('syscall', 'long', ['long', 'int', 'void*', 'size_t', 'long', 'long', 'int'])
const ftruncateCall = libc<[fd: number, size: number | bigint]>('ftruncate', 'int', ['int', 'int64'])
const truncateCall = libc<[path: Pointer, size: number | bigint]>('truncate', 'int', ['void*', 'int64'])
const fallocateCall = libc<[fd: number, mode: number, offset: number | bigint, length: number | bigint]>(
  'fallocate',
  'int',
  ['int', 'int', 'int64', 'int64'],
)
const copyFileRangeCall = libc<
  [from: number, fromOffset: Pointer, to: number, toOffset: Pointer, length: number, flags: number]
>('copy_file_range', 'long', ['int', 'void*', 'int', 'void*', 'size_t', 'uint'])
const fsyncCall = libc<[fd: number]>('fsync', 'int', ['int'])
const fdatasyncCall = libc<[fd: number]>('fdatasync', 'int', ['int'])
const syncfsCall = libc<[fd: number]>('syncfs', 'int', ['int'])
const fchmodatCall = libc<[dirFd: number, path: Pointer, mode: number, flags: number]>('fchmodat', 'int', [
  'int',
  'void*',
  'uint',
  'int',
])
const fchownatCall = libc<[dirFd: number, path: Pointer, uid: number, gid: number, flags: number]>('fchownat', 'int', [
  'int',
  'void*',
  'uint',
  'uint',
  'int',
])
const utimensatCall = libc<[dirFd: number, path: Pointer, times: Pointer, flags: number]>('utimensat', 'int', [
  'int',
  'void*',
  'void*',
  'int',
])

const here = cString('')
const pathOf = (fd: number) => cString(`/proc/self/fd/${fd}`)

/** musl has no function for it. */
const SYS_PWRITEV2 = os.arch() === 'arm64' ? 287 : 328
const RWF_APPEND = 0x10

/** Bytes written. A descriptor opened with O_APPEND writes at the end of the file, whatever `offset` is. */
export function pwrite(fd: number, buffer: Pointer, length: number, offset: number | bigint): number {
  return errnoOf(pwriteCall(fd, buffer, length, offset))
}

/** One struct iovec, and where the memory begins that the last one was in: clients of one thread write from the same. */
const vector = new Uint32Array(4)
let memory: ArrayBufferLike | undefined
let memoryAt = 0

/** Bytes written, at the end of the file, whatever flags the descriptor has. */
export function append(fd: number, bytes: Uint8Array): number {
  if (memory !== bytes.buffer) {
    memory = bytes.buffer
    memoryAt = Number(addressOf(new Uint8Array(memory)))
  }
  const address = memoryAt + bytes.byteOffset
  vector[0] = address
  vector[1] = address / 2 ** 32
  vector[2] = bytes.length
  return errnoOf(pwritev2Call(SYS_PWRITEV2, fd, vector, 1, 0, 0, RWF_APPEND))
}

export function ftruncate(fd: number, size: number | bigint): number {
  return errnoOf(ftruncateCall(fd, size))
}

/** As ftruncate(2), but as truncate(2) does it: a file that is as long already keeps its times. Needs /proc. */
export function truncateFd(fd: number, size: number | bigint): number {
  return errnoOf(truncateCall(pathOf(fd), size))
}

/** `mode`: FALLOC_FL_KEEP_SIZE 1, PUNCH_HOLE 2, COLLAPSE_RANGE 8, ZERO_RANGE 16, INSERT_RANGE 32, UNSHARE_RANGE 64. */
export function fallocate(fd: number, mode: number, offset: number | bigint, length: number | bigint): number {
  return errnoOf(fallocateCall(fd, mode, offset, length))
}

/** Bytes copied, 0 at the end of `from`. The file system shares the blocks where it can. */
export function copyFileRange(
  from: number,
  fromOffset: number | bigint,
  to: number,
  toOffset: number | bigint,
  length: number,
): number {
  const fromAt = BigInt64Array.of(BigInt(fromOffset))
  const toAt = BigInt64Array.of(BigInt(toOffset))
  return errnoOf(copyFileRangeCall(from, fromAt, to, toAt, length, 0))
}

export function fsync(fd: number): number {
  return errnoOf(fsyncCall(fd))
}

export function fdatasync(fd: number): number {
  return errnoOf(fdatasyncCall(fd))
}

/** All of the file system that `fd` is on. */
export function syncfs(fd: number): number {
  return errnoOf(syncfsCall(fd))
}

/** chmod(2) of what `fd` (O_PATH will do) is open on. */
export function chmodFd(fd: number, mode: number): number {
  return errnoOf(fchmodatCall(AT_FDCWD, pathOf(fd), mode, 0))
}

/** chown(2) of what `fd` (O_PATH will do) is open on; -1 leaves an id as it is. */
export function chownFd(fd: number, uid: number, gid: number): number {
  return errnoOf(fchownatCall(fd, here, uid >>> 0, gid >>> 0, AT_EMPTY_PATH))
}

/** In the place of nanoseconds. */
export const UTIME_NOW = 0x3fffffffn
export const UTIME_OMIT = 0x3ffffffen

/** utimensat(2) of what `fd` (O_PATH will do) is open on; `times`: access and modification, seconds and nanoseconds each. */
export function utimensFd(fd: number, times: BigInt64Array): number {
  return errnoOf(utimensatCall(AT_FDCWD, pathOf(fd), times, 0))
}
