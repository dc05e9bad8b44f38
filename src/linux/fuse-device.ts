/** /dev/fuse: its descriptors, its ioctls, and the poll that waits for it. All but {@link openFuseDevice} return -errno on failure. */

import type { SystemError } from './errors.ts'
import { close, O_NONBLOCK, O_RDWR, open, openat } from './file.ts'
import { callAsync, cString, errnoOf, libc, type Pointer } from './native.ts'
import { AT_FDCWD } from './statx.ts'

const readCall = libc<[fd: number, buffer: Pointer, size: number]>('read', 'long', ['int', 'void*', 'size_t'])
const writeCall = libc<[fd: number, buffer: Pointer, size: number]>('write', 'long', ['int', 'void*', 'size_t'])
const ioctlCall = libc<[fd: number, request: number, argument: Pointer]>('ioctl', 'int', ['int', 'long', 'void*'])
const pollCall = libc<[fds: Pointer, count: number, timeoutMs: number]>('poll', 'int', ['void*', 'long', 'int'])
const yieldCall = libc<[]>('sched_yield', 'int', [])

const FUSE_DEV_IOC_CLONE = 0x8004e500 // _IOR(229, 0, u32)
const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501 // _IOW(229, 1, struct fuse_backing_map)
const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502 // _IOW(229, 2, u32)

const DEVICE = '/dev/fuse'
/** A blocking descriptor would do for one reader, ours are polled. */
const DEVICE_FLAGS = O_RDWR | O_NONBLOCK

/** Opens /dev/fuse. Throws a SystemError. */
export function openFuseDevice(): number {
  return open(DEVICE, DEVICE_FLAGS)
}

/** A further descriptor of the connection that `fd` serves: requests read from one are answered on the same. */
export function cloneFuseDevice(fd: number): number {
  const clone = openat(AT_FDCWD, cString(DEVICE), DEVICE_FLAGS)
  if (clone < 0) return clone
  const error = errnoOf(ioctlCall(clone, FUSE_DEV_IOC_CLONE, new Uint32Array([fd])))
  if (error === 0) return clone
  close(clone)
  return error
}

/** Registers the file open as `fileFd` for passthrough; returns its backing id (> 0) or -errno. Needs CAP_SYS_ADMIN. */
export function backingOpen(fuseFd: number, fileFd: number): number {
  // struct fuse_backing_map { s32 fd; u32 flags; u64 padding; }
  backingMap[0] = fileFd
  return errnoOf(ioctlCall(fuseFd, FUSE_DEV_IOC_BACKING_OPEN, backingMap))
}
const backingMap = new Int32Array(4)

/** Forgets a backing id; files that are open on it stay open. */
export function backingClose(fuseFd: number, backingId: number): number {
  backingIdOut[0] = backingId
  return errnoOf(ioctlCall(fuseFd, FUSE_DEV_IOC_BACKING_CLOSE, backingIdOut))
}
const backingIdOut = new Uint32Array(1)

export function read(fd: number, buffer: Pointer, size: number): number {
  return errnoOf(readCall(fd, buffer, size))
}

export function write(fd: number, buffer: Pointer, size: number): number {
  return errnoOf(writeCall(fd, buffer, size))
}

/** As {@link write}, on the libuv pool: resolves with 0, or -errno. `buffer` must not change until then. */
export function writeAsync(fd: number, buffer: Pointer, size: number): Promise<number> {
  return callAsync(writeCall, 'write', undefined, fd, buffer, size).then(
    () => 0,
    (error: SystemError) => error.errno,
  )
}

/** Waits until `fd` is readable: 1, or 0 after `timeoutMs` (-1: no limit), or -errno. Allocates nothing. */
export function waitReadable(fd: number, timeoutMs: number): number {
  pollFd[0] = fd
  pollFd[1] = 1 // events = POLLIN, revents = 0
  return errnoOf(pollCall(pollFd, 1, timeoutMs))
}
const pollFd = new Int32Array(2)

/** Lets another thread of this processor run. */
export function schedYield(): void {
  yieldCall()
}
