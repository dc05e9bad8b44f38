/**
 * Which pages of a mapped file have become its own since its run map was made: a bitmap in shared memory beside the map.
 *
 * A run map never changes; writers of the file set bits here, before their bytes reach the file, and readers look here first. A bit
 * is never cleared: at the file's next first open a new map is made. A page that was written in part is own as a whole, for the file
 * itself holds the rest too. What lies behind the map's size is the file's own anyway and has no bits.
 *
 * ```
 *   word 0        EMPTY until anything was added: nobody has to look further; COMPLETE once all pages were at once
 *   word 1 …      a bit per page of the map
 * ```
 * Context: any thread, without locks. Whoever looks after {@link add} has returned sees it.
 */
import { PAGE_BYTES } from './entry.ts'

const ALL = -1
const EMPTY = 0
const SOME = 1
const COMPLETE = 2

export class OwnPages {
  readonly #words: Int32Array
  readonly #pages: number

  /** For a file whose map has `sizeBytes`: one bit a page, 32 KiB for each GiB. */
  static allocate(sizeBytes: number): SharedArrayBuffer {
    return new SharedArrayBuffer(4 + Math.ceil(Math.ceil(sizeBytes / PAGE_BYTES) / 32) * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.#pages = (this.#words.length - 1) * 32
  }

  /** Nothing was added yet: the run map alone says where the bytes are, and how long the file is. */
  get isEmpty(): boolean {
    return Atomics.load(this.#words, 0) === EMPTY
  }

  /** The pages that bytes [start, end) touch become own; `end` may be Infinity. Also with none: the file may be longer than its map. */
  add(start: number, end: number): void {
    const words = this.#words
    if (Atomics.load(words, 0) === COMPLETE) return
    const to = Math.min(Math.ceil(end / PAGE_BYTES), this.#pages)
    for (let page = Math.floor(start / PAGE_BYTES); page < to; ) {
      const bit = page & 31
      const count = Math.min(32 - bit, to - page)
      const mask = count === 32 ? ALL : ((1 << count) - 1) << bit
      Atomics.or(words, 1 + (page >>> 5), mask)
      page += count
    }
    if (start <= 0 && to === this.#pages) Atomics.store(words, 0, COMPLETE)
    else Atomics.compareExchange(words, 0, EMPTY, SOME)
  }

  /** Whether page `page` is own by this bitmap. */
  has(page: number): boolean {
    return page < this.#pages && ((Atomics.load(this.#words, 1 + (page >>> 5)) >>> (page & 31)) & 1) === 1
  }

  /** How many pages from `page` on, at most `limit`, are as that one is: own, or not. */
  runLength(page: number, limit: number): number {
    const own = this.has(page)
    let length = 1
    while (length < limit) {
      const next = page + length
      if (next >= this.#pages) return own ? length : limit
      // A whole word at once.
      if ((next & 31) === 0 && Atomics.load(this.#words, 1 + (next >>> 5)) === (own ? ALL : 0)) length += 32
      else if (this.has(next) === own) length++
      else return length
    }
    return limit
  }
}
