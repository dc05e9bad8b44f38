/** Pipes and splice(2): moving pages of the page cache from one descriptor to another without copying them. */
import { fcntl } from './fcntl.ts'
import { check, errnoOf, libc, type Pointer } from './native.ts'

const pipe2Call = libc<[out: Pointer, flags: number]>('pipe2', 'int', ['void*', 'int'])
const spliceCall = libc<
  [from: number, fromOffset: Pointer, to: number, toOffset: Pointer, length: number, flags: number]
>('splice', 'long', ['int', 'void*', 'int', 'void*', 'size_t', 'uint'])

const O_CLOEXEC = 0o2000000
const O_NONBLOCK = 0o4000
const F_SETPIPE_SZ = 1031
const SPLICE_F_NONBLOCK = 2

/** A pipe, both ends non-blocking, as [read end, write end]. Throws a SystemError. */
export function openPipe(): [number, number] {
  const ends = new Int32Array(2)
  check(pipe2Call(ends, O_CLOEXEC | O_NONBLOCK), 'pipe2')
  return [ends[0]!, ends[1]!]
}

/** Asks for room in a pipe; bytes it has now (4 KiB of it per page that it refers to), or -errno (EPERM: over the user's limit). */
export function setPipeSize(fd: number, bytes: number): number {
  return fcntl(fd, F_SETPIPE_SZ, bytes)
}

const fileOffset = new Uint32Array(2)

/** Puts references to bytes of a file from `offset` on into a pipe: bytes moved, which may be fewer than asked for, or -errno. */
export function spliceFromFile(fd: number, offset: number, pipeFd: number, length: number): number {
  fileOffset[0] = offset
  fileOffset[1] = Math.floor(offset / 2 ** 32)
  return errnoOf(spliceCall(fd, fileOffset, pipeFd, null, length, SPLICE_F_NONBLOCK))
}

/**
 * Hands all of a pipe's `length` bytes to a device: bytes taken or -errno. Without SPLICE_F_MOVE, by which FUSE would take the pages
 * themselves out of the page cache that they belong to, when it fills its own.
 */
export function spliceToDevice(pipeFd: number, deviceFd: number, length: number): number {
  return errnoOf(spliceCall(pipeFd, null, deviceFd, null, length, 0))
}
