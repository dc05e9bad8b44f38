/** open, read and close by descriptor: the calls that the daemon makes on every request. All return -errno on failure. */
import fs from 'node:fs'
import { fcntl } from './fcntl.ts'
import { callAsync, check, cString, errnoOf, libc, type Pointer } from './native.ts'
import { AT_FDCWD } from './statx.ts'

export const O_RDONLY = 0
export const O_WRONLY = 0o1
export const O_RDWR = 0o2
export const O_ACCMODE = 0o3
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
export const O_DSYNC = 0o10000
export const O_SYNC = 0o4010000
export const O_NONBLOCK = 0o4000
// These differ between architectures.
export const O_DIRECT = fs.constants.O_DIRECT
export const O_DIRECTORY = fs.constants.O_DIRECTORY
export const O_NOFOLLOW = fs.constants.O_NOFOLLOW
export const O_NOATIME = 0o1000000
export const O_CLOEXEC = 0o2000000
export const O_PATH = 0o10000000
export const O_TMPFILE = 0o20000000 | O_DIRECTORY

const openatCall = libc<[dirFd: number, path: Pointer, flags: number, mode: number]>('openat', 'int', [
  'int',
  'void*',
  'int',
  'uint',
])
const closeCall = libc<[fd: number]>('close', 'int', ['int'])
const preadCall = libc<[fd: number, buffer: Pointer, length: number, offset: number | bigint]>('pread', 'long', [
  'int',
  'void*',
  'size_t',
  'int64',
])
const readlinkatCall = libc<[dirFd: number, path: Pointer, buffer: Pointer, size: number]>('readlinkat', 'long', [
  'int',
  'void*',
  'void*',
  'size_t',
])
const fadviseCall = libc<[fd: number, offset: number, length: number, advice: number]>('posix_fadvise', 'int', [
  'int',
  'int64',
  'int64',
  'int',
])
const lseekCall = libc<[fd: number, offset: number | bigint, whence: number], number | bigint>('lseek', 'int64', [
  'int',
  'int64',
  'int',
])

const F_SETFL = 4

export const POSIX_FADV_RANDOM = 1
export const POSIX_FADV_WILLNEED = 3
export const POSIX_FADV_DONTNEED = 4

/** openat(2): a descriptor or -errno. `path` is NUL-terminated bytes. */
export function openat(dirFd: number, path: Pointer, flags: number, mode = 0): number {
  return errnoOf(openatCall(dirFd, path, flags | O_CLOEXEC, mode))
}

/** open(2) by name: a descriptor, or a thrown SystemError. */
export function open(path: string, flags: number, mode = 0): number {
  return check(openatCall(AT_FDCWD, cString(path), flags | O_CLOEXEC, mode), 'open', path)
}

/** A new descriptor for what `fd` (which may be O_PATH) is open on, with other flags; or -errno. Needs /proc. */
export function reopen(fd: number, flags: number): number {
  return errnoOf(openatCall(AT_FDCWD, cString(`/proc/self/fd/${fd}`), flags | O_CLOEXEC, 0))
}

export function close(fd: number): number {
  return errnoOf(closeCall(fd))
}

/**
 * As {@link close}, on the libuv pool: closing the last descriptor of an unnamed file frees its blocks, which takes btrfs
 * seconds for a file in many pieces.
 */
export function closeAsync(fd: number): Promise<number> {
  return callAsync(closeCall, 'close', undefined, fd)
}

/** pread(2): bytes read (0 at the end), or -errno. `offset` in bytes: from {@link EXACT_END} on it takes a bigint. */
export function pread(fd: number, buffer: Pointer, length: number, offset: number | bigint): number {
  return errnoOf(preadCall(fd, buffer, length, offset))
}

export function readlinkat(dirFd: number, path: Pointer, buffer: Pointer, size: number): number {
  return errnoOf(readlinkatCall(dirFd, path, buffer, size))
}

/** posix_fadvise(2): 0 or -errno (the C function returns the errno itself). */
export function fadvise(fd: number, offset: number, length: number, advice: number): number {
  return -fadviseCall(fd, offset, length, advice)
}

/** Sets which of O_APPEND, O_NONBLOCK, O_DIRECT and O_NOATIME the open file has: 0, or -errno. */
export function setStatusFlags(fd: number, flags: number): number {
  return fcntl(fd, F_SETFL, flags)
}

export const SEEK_SET = 0
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

/** From here on not every offset is a number; files may be a thousand times as long. */
export const EXACT_END = 2 ** 53

/** lseek(2): the resulting offset in bytes, or -errno. Positions in directories need a bigint: they may have 63 bits. */
export function lseek(fd: number, offset: number | bigint, whence: number): number {
  return Number(lseekExact(fd, offset, whence))
}

/** The same; an offset that is not exact as a number is a bigint. */
export function lseekExact(fd: number, offset: number | bigint, whence: number): number | bigint {
  const result = lseekCall(fd, offset, whence)
  return typeof result === 'bigint' ? result : errnoOf(result)
}
