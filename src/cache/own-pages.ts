/**
 * Which pages of a mapped file have become its own since its run map was made: a bitmap in shared memory beside the map.
 *
 * A run map never changes; writers of the file set bits here, before their bytes reach the file, and readers look here first. A bit
 * is never cleared: at the file's next first open a new map is made. A page that was written in part is own as a whole, for the file
 * itself holds the rest too. For the same reason a bit may stand for several pages: a *unit*, one page but for maps of more than 256 GiB. So
 * no file, however long and sparse, takes more than 8 MiB, or long to be made own as a whole. What lies behind the map's last run is the
 * file's own anyway and has no bits.
 *
 * ```
 *   word 0        EMPTY until anything was added or noted: nobody has to look further; COMPLETE once all pages were added at once
 *   word 1        log2 of the pages in a unit; written before anybody else can know of the buffer
 *   word 2 …      a bit per unit of the map
 * ```
 * Context: any thread, without locks. Whoever looks after {@link add} has returned sees it.
 */
import { PAGE_BYTES } from './entry.ts'

const ALL = -1
const EMPTY = 0
const SOME = 1
const COMPLETE = 2

const UNIT = 1
const BITS = 2
const UNITS_MAX = 2 ** 26

export class OwnPages {
  readonly #words: Int32Array
  readonly #units: number
  /** A power of two. */
  readonly #unitPages: number
  readonly #pages: number

  /** For a file whose map's last run ends at `endBytes`: one bit a unit, 32 KiB for each GiB, 8 MiB at most. */
  static allocate(endBytes: number): SharedArrayBuffer {
    const pages = Math.ceil(endBytes / PAGE_BYTES)
    let log2 = 0
    while (pages / 2 ** log2 > UNITS_MAX) log2++
    const buffer = new SharedArrayBuffer((BITS + Math.ceil(pages / 2 ** log2 / 32)) * 4)
    new Int32Array(buffer)[UNIT] = log2
    return buffer
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.#units = (this.#words.length - BITS) * 32
    this.#unitPages = 2 ** this.#words[UNIT]!
    this.#pages = this.#units * this.#unitPages
  }

  /** Nothing was added yet: the run map alone says where the bytes are, and how long the file is. */
  get isEmpty(): boolean {
    return Atomics.load(this.#words, 0) === EMPTY
  }

  /** The pages that bytes [start, end) touch become own; `end` may be Infinity. Also with none: the file may be longer than its map. */
  add(start: number, end: number): void {
    const words = this.#words
    if (Atomics.load(words, 0) === COMPLETE) return
    const unitBytes = this.#unitPages * PAGE_BYTES
    const to = Math.min(Math.ceil(end / unitBytes), this.#units)
    for (let unit = Math.floor(start / unitBytes); unit < to; ) {
      const bit = unit & 31
      const count = Math.min(32 - bit, to - unit)
      const mask = count === 32 ? ALL : ((1 << count) - 1) << bit
      Atomics.or(words, BITS + (unit >>> 5), mask)
      unit += count
    }
    if (start <= 0 && to === this.#units) Atomics.store(words, 0, COMPLETE)
    else Atomics.compareExchange(words, 0, EMPTY, SOME)
  }

  /** All pages become own. */
  addAll(): void {
    this.add(0, Number.POSITIVE_INFINITY)
  }

  /** No page becomes own by this, and {@link isEmpty} holds no more: what the run map says of the file as a whole is not so any longer. */
  noteWritten(): void {
    Atomics.compareExchange(this.#words, 0, EMPTY, SOME)
  }

  /** Whether page `page` is own by this bitmap. */
  has(page: number): boolean {
    return page < this.#pages && this.#hasUnit(this.#unitOf(page))
  }

  /** How many pages from `page` on, at most `limit`, are as that one is: own, or not. */
  runLength(page: number, limit: number): number {
    const own = this.has(page)
    const end = page + limit
    let unit = this.#unitOf(page) + 1
    for (let next = unit * this.#unitPages; next < end; next = unit * this.#unitPages) {
      if (unit >= this.#units) return own ? next - page : limit
      // A whole word at once.
      if ((unit & 31) === 0 && Atomics.load(this.#words, BITS + (unit >>> 5)) === (own ? ALL : 0)) unit += 32
      else if (this.#hasUnit(unit) === own) unit++
      else return next - page
    }
    return limit
  }

  #unitOf(page: number): number {
    return this.#unitPages === 1 ? page : Math.floor(page / this.#unitPages)
  }

  #hasUnit(unit: number): boolean {
    return ((Atomics.load(this.#words, BITS + (unit >>> 5)) >>> (unit & 31)) & 1) === 1
  }
}
