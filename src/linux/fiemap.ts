/**
 * FS_IOC_FIEMAP into a reusable buffer: where the bytes of a file lie on its file system.
 *
 * ```
 * struct fiemap        offset     struct fiemap_extent   offset
 *   start         u64    0          logical         u64    0
 *   length        u64    8          physical        u64    8
 *   flags         u32   16          length          u64   16
 *   mapped        u32   20          reserved        u64   24, 32
 *   extent_count  u32   24          flags           u32   40
 *   reserved      u32   28          reserved        u32   44, 48, 52
 *   extents            32         size                   56
 * ```
 *
 * Requests carry FIEMAP_FLAG_SYNC unless told otherwise: without it the kernel answers for a dirty copy-on-write range
 * with the block that the data is about to leave.
 */
import { SystemError } from './errors.ts'
import { ioctl, ioctlPointerCall, ioctlRequest } from './ioctl.ts'
import { callAsync } from './native.ts'

const HEADER_WORDS = 8
const EXTENT_WORDS = 14
const TWO_32 = 2 ** 32
/** The longest length that a request asks for: a float holds it exactly, and no file is longer. */
const LENGTH_MAX = Number.MAX_SAFE_INTEGER

const FS_IOC_FIEMAP = ioctlRequest('readWrite', 'f', 11, 32)
const FIEMAP_FLAG_SYNC = 1
export const FIEMAP_EXTENT_LAST = 1

/** Extents that one request asks for at most: 112 KiB of answer, some 10 ms of work for the file system. */
const EXTENTS_PER_REQUEST = 2048

/** A request and its answer. One user at a time; nothing is allocated after construction. */
export class FiemapBuffer {
  readonly extentsMax: number
  readonly #words: Uint32Array

  constructor(extentsMax: number = EXTENTS_PER_REQUEST) {
    this.extentsMax = extentsMax
    this.#words = new Uint32Array(HEADER_WORDS + EXTENT_WORDS * extentsMax)
  }

  /**
   * Maps up to `extentsMax` extents that touch [start, start + length) bytes of what `fd` is open on, after its dirty
   * pages were written. Returns the number of extents or -errno (EOPNOTSUPP: the file system has no FIEMAP; EBADF also
   * for O_PATH). Blocks the calling thread: it may write back the whole file. With `sync` false nothing is written, and
   * the answer holds for clean pages only: for statistics that must not disturb.
   */
  map(fd: number, start: number, length: number, sync = true): number {
    this.#request(start, length, sync)
    const result = ioctl(fd, FS_IOC_FIEMAP, this.#words)
    return result < 0 ? result : this.mapped
  }

  /** As {@link map}, on the libuv pool. `fd` must stay open until the promise settles. Resolves with the same numbers. */
  async mapAsync(fd: number, start: number, length: number): Promise<number> {
    this.#request(start, length, true)
    try {
      await callAsync(ioctlPointerCall, 'ioctl FS_IOC_FIEMAP', undefined, fd, FS_IOC_FIEMAP, this.#words)
    } catch (error) {
      if (error instanceof SystemError) return error.errno
      throw error
    }
    return this.mapped
  }

  #request(start: number, length: number, sync: boolean): void {
    const words = this.#words
    const bounded = Math.min(length, LENGTH_MAX - start)
    words[0] = start % TWO_32
    words[1] = Math.floor(start / TWO_32)
    words[2] = bounded % TWO_32
    words[3] = Math.floor(bounded / TWO_32)
    words[4] = sync ? FIEMAP_FLAG_SYNC : 0
    words[5] = 0
    words[6] = this.extentsMax
    words[7] = 0
  }

  /** Extents in the answer. */
  get mapped(): number {
    return this.#words[5]!
  }
  /** File offset of extent `index` of the answer, in bytes. */
  logical(index: number): number {
    return this.#u64(index, 0)
  }
  /** Offset on the file system's device or, on btrfs, in its address space; in bytes. */
  physical(index: number): number {
    return this.#u64(index, 2)
  }
  /** Bytes. */
  extentLength(index: number): number {
    return this.#u64(index, 4)
  }
  /** FIEMAP_EXTENT_* bits. */
  flags(index: number): number {
    return this.#words[HEADER_WORDS + index * EXTENT_WORDS + 10]!
  }

  #u64(index: number, field: number): number {
    const word = HEADER_WORDS + index * EXTENT_WORDS + field
    return this.#words[word + 1]! * TWO_32 + this.#words[word]!
  }
}
