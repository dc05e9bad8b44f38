/**
 * Locks on open files: of ranges (fcntl(2), those of open file descriptions) and of whole files (flock(2)). Both belong to what `fd` is
 * open on, not to this process, so one process can hold them for many owners. Nothing here waits. Any thread.
 */
import { fcntlPointer } from './fcntl.ts'
import { errnoOf, libc } from './native.ts'

const flockCall = libc<[fd: number, operation: number]>('flock', 'int', ['int', 'int'])

const F_OFD_GETLK = 36
const F_OFD_SETLK = 37

/** Types of a lock, as fcntl(2) and FUSE have them. */
export const F_RDLCK = 0
export const F_WRLCK = 1
export const F_UNLCK = 2

const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4
const LOCK_UN = 8

/** The last byte that a lock can cover: a lock up to there goes on to the end of the file, however it grows. */
export const OFFSET_MAX = 2n ** 63n - 1n

/** A lock on bytes `start` to `end`, both included. */
interface RangeLock {
  type: number
  start: bigint
  end: bigint
  /** Who holds it; -1 where that is no process. */
  pid: number
}

/** Sets or removes a lock: 0, or -errno (EAGAIN: somebody else's is in the way). `fd` must be open for writing where the lock is F_WRLCK. */
export function setRangeLock(fd: number, type: number, start: bigint, end: bigint): number {
  return fcntlPointer(fd, F_OFD_SETLK, struct(type, start, end))
}

/** The lock that would be in the way of such a one, undefined where none is; or -errno. */
export function findRangeLock(fd: number, type: number, start: bigint, end: bigint): RangeLock | undefined | number {
  const lock = struct(type, start, end)
  const error = fcntlPointer(fd, F_OFD_GETLK, lock)
  if (error < 0) return error
  const found = lock.readInt16LE(0)
  if (found === F_UNLCK) return undefined
  const first = lock.readBigInt64LE(8)
  const length = lock.readBigInt64LE(16)
  return {
    type: found,
    start: first,
    end: length === 0n ? OFFSET_MAX : first + length - 1n,
    pid: lock.readInt32LE(24),
  }
}

/** Locks the whole file, or gives it free: 0, or -errno (EAGAIN: somebody else's is in the way). */
export function setFileLock(fd: number, type: number): number {
  const operation = type === F_UNLCK ? LOCK_UN : type === F_WRLCK ? LOCK_EX : LOCK_SH
  return errnoOf(flockCall(fd, operation | LOCK_NB))
}

/** struct flock with 64-bit offsets: l_type i16 @0 · l_whence i16 @2 · l_start i64 @8 · l_len i64 @16 · l_pid i32 @24; 32 bytes. */
function struct(type: number, start: bigint, end: bigint): Buffer {
  const lock = Buffer.alloc(32)
  lock.writeInt16LE(type, 0)
  lock.writeBigInt64LE(start, 8)
  lock.writeBigInt64LE(end >= OFFSET_MAX ? 0n : end - start + 1n, 16)
  return lock
}
