/**
 * cachestat(2), Linux 6.5: how many pages of a range of a file the page cache holds.
 *
 * The kernel answers for the inode behind the descriptor itself: on overlayfs and on FUSE passthrough that inode has
 * no pages of its own and the answer is 0 whatever is cached; mincore.ts tells the truth on overlayfs. Where the kernel
 * restricts the call (6.15 and later), it wants the caller to own the file or to be allowed to write it, else EPERM.
 *
 * ```
 * struct cachestat_range { u64 offset, length }
 * struct cachestat       { u64 cached, dirty, writeback, evicted, recently evicted }   all in pages
 * ```
 */
import { errnoOf, libc, type Pointer, SYS } from './native.ts'

const cachestatCall = libc<[number: number, fd: number, range: Pointer, out: Pointer, flags: number]>(
  'syscall',
  'long',
  ['long', 'int', 'void*', 'void*', 'uint'],
)
const TWO_32 = 2 ** 32

/** An answer, reusable: a call allocates nothing. Counts are pages of the kernel's page size. */
export class CacheStat {
  readonly #range = new Uint32Array(4)
  readonly #counts = new Uint32Array(10)

  /**
   * Asks about the pages that [offset, offset + length) bytes of the file touch; a length of 0 means up to the end.
   * Returns 0 or -errno: ENOSYS before Linux 6.5, EPERM, EOPNOTSUPP on hugetlbfs, EBADF for O_PATH. Any thread; does not block.
   */
  read(fd: number, offset = 0, length = 0): number {
    this.#range[0] = offset % TWO_32
    this.#range[1] = Math.floor(offset / TWO_32)
    this.#range[2] = length % TWO_32
    this.#range[3] = Math.floor(length / TWO_32)
    return errnoOf(cachestatCall(SYS.cachestat, fd, this.#range, this.#counts, 0))
  }

  get cached(): number {
    return this.#count(0)
  }
  get dirty(): number {
    return this.#count(1)
  }
  get writeback(): number {
    return this.#count(2)
  }
  get evicted(): number {
    return this.#count(3)
  }

  #count(field: number): number {
    return this.#counts[2 * field + 1]! * TWO_32 + this.#counts[2 * field]!
  }
}

const whole = new CacheStat()

/** Pages of the file that are cached now; 0 also where the kernel does not tell. */
export function cachedPages(fd: number): number {
  return whole.read(fd) < 0 ? 0 : whole.cached
}
