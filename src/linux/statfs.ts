/**
 * fstatfs(2) into a reusable record.
 *
 * ```
 * struct statfs (64-bit machines), words of 64 bits:
 *   0 type · 1 bsize · 2 blocks · 3 bfree · 4 bavail · 5 files · 6 ffree · 7 fsid · 8 namelen · 9 frsize · 10 flags
 * ```
 */
import { errnoOf, libc, type Pointer } from './native.ts'

const fstatfsCall = libc<[fd: number, out: Pointer]>('fstatfs', 'int', ['int', 'void*'])

const WORD = {
  TYPE: 0,
  BSIZE: 1,
  BLOCKS: 2,
  BFREE: 3,
  BAVAIL: 4,
  FILES: 5,
  FFREE: 6,
  NAMELEN: 8,
  FRSIZE: 9,
  FLAGS: 10,
} as const

/** Mount flag in `flags`: read-only. */
export const ST_RDONLY = 1
/** And: set-id bits count for nothing. */
export const ST_NOSUID = 2
/** And: devices there are not opened. */
export const ST_NODEV = 4
/** And: nothing there is run. */
export const ST_NOEXEC = 8

export class Statfs {
  /** The record as 32-bit words, two per field, low half first. */
  readonly words = new Uint32Array(32)

  /** Asks about the file system that `fd` (O_PATH will do) is on: 0 or -errno. */
  ofFd(fd: number): number {
    return errnoOf(fstatfsCall(fd, this.words))
  }

  /** The magic number of the file system's kind. */
  get type(): number {
    return this.words[WORD.TYPE * 2]!
  }
  get flags(): number {
    return this.words[WORD.FLAGS * 2]!
  }
  get namelen(): number {
    return this.words[WORD.NAMELEN * 2]!
  }
  /** Bytes of the units that blocks are counted in. */
  get frsize(): number {
    return this.#field(WORD.FRSIZE)
  }
  get bsize(): number {
    return this.#field(WORD.BSIZE)
  }
  get blocks(): number {
    return this.#field(WORD.BLOCKS)
  }
  get bfree(): number {
    return this.#field(WORD.BFREE)
  }
  get bavail(): number {
    return this.#field(WORD.BAVAIL)
  }
  get files(): number {
    return this.#field(WORD.FILES)
  }
  get ffree(): number {
    return this.#field(WORD.FFREE)
  }

  #field(word: number): number {
    return this.words[word * 2 + 1]! * 2 ** 32 + this.words[word * 2]!
  }
}
