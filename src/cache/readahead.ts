/**
 * Readahead: how many pages to load where one is missed, as the kernel's on-demand readahead does it (Fengguang Wu, "Sequential file
 * prefetching in Linux", 2008), reduced to what needs no look at the index.
 *
 * ```
 *   a sequential reader    |…read…|—wanted—|————— read ahead —————|
 *                                               ▲ marker: who reads from here to a window behind the last has the next one loaded meanwhile
 * ```
 * A reader is sequential while it misses where the last window ended, or at the beginning of the file. Each window is twice as large as the one before.
 * Any other miss loads what is wanted and nothing else. A hit further out opens no window: it may be of an index that the sequential reader looks into, or of another reader of this open file. Many in a row
 * are a reader of something else, and end the windows.
 *
 * Pure: one for each open file. Allocates nothing.
 */
export const ADVICE = { NORMAL: 0, SEQUENTIAL: 1, RANDOM: 2 } as const
type Advice = (typeof ADVICE)[keyof typeof ADVICE]

/** In pages: what the first window has at least. */
const WINDOW_MIN = 4
/** 1 MiB: as many pages as one readv(2) takes at most is more. */
export const WINDOW_MAX = 256

/** Windows that may be under way, the one that the reader is in included. */
const WINDOWS_AHEAD = 3

/** Of so many pages that the cache may have, a window is one at most: else what is read ahead would take the place of what was, before the reader has come to it. */
const PAGES_PER_WINDOW_PAGE = 16

/** So many hits further out in a row, for each page of the window that was opened last, are of no reader that is sequential besides. */
const FAR_HITS_PER_PAGE = 16

/** What a window has at most where the cache may have `pages`. */
export function windowMax(pages: number): number {
  return Math.max(1, Math.min(WINDOW_MAX, Math.floor(pages / PAGES_PER_WINDOW_PAGE)))
}

export class Readahead {
  /** Reading this page or one behind it is the time to ask {@link reached}. */
  marker = Number.POSITIVE_INFINITY

  #advice: Advice = ADVICE.NORMAL
  #end = 0
  #size = 0
  #sizeMax = WINDOW_MAX
  /** In a row. */
  #farHits = 0

  get advice(): Advice {
    return this.#advice
  }

  /** Who reads at random is in no window any more: hits alone, of what was read ahead before, would lead from one to the next for ever. */
  set advice(advice: Advice) {
    this.#advice = advice
    if (advice === ADVICE.RANDOM) this.#endWindows()
  }

  /** The cache may have `pages` now: see {@link windowMax}. */
  fit(pages: number): void {
    this.#sizeMax = windowMax(pages)
  }

  /** Pages to load from `page` on for a reader who misses it and wants `count` of them: at least these. */
  missed(page: number, count: number): number {
    // The reader is faster than storage: this is under way.
    if (page < this.#end && page >= this.#end - WINDOWS_AHEAD * this.#size) return count
    if (this.advice === ADVICE.RANDOM || (this.advice === ADVICE.NORMAL && page !== this.#end && page !== 0)) {
      this.#endWindows()
      // Where it would go on, if it were sequential from now on.
      this.#end = page + count
      return count
    }
    if (this.advice === ADVICE.SEQUENTIAL) this.#size = this.#sizeMax
    else this.#size = Math.min(this.#sizeMax, Math.max(WINDOW_MIN, this.#size * 2, count * 2))
    const pages = Math.max(count, this.#size)
    this.#farHits = 0
    this.#end = page + pages
    this.marker = this.#end - (this.#size >>> 1)
    return pages
  }

  /**
   * The reader has come to the {@link marker} or further, with a read that begins on `page`: the window after the one that it is in begins at `ahead`, which is returned, and has
   * {@link window} pages. Undefined where it is somewhere else.
   */
  reached(page: number): number | undefined {
    const ahead = this.#end
    if (page >= ahead + this.#size) {
      if (++this.#farHits > FAR_HITS_PER_PAGE * this.#size) this.#endWindows()
      return undefined
    }
    this.#farHits = 0
    this.#size = Math.min(this.#sizeMax, this.#size * 2)
    this.#end += this.#size
    // While the reader waits for one window, storage is busy with the next.
    this.marker = this.#end - (WINDOWS_AHEAD - 1) * this.#size
    return ahead
  }

  /** Pages of the window that was opened last. */
  get window(): number {
    return this.#size
  }

  /** No hit opens one until the reader is sequential again. */
  #endWindows(): void {
    this.#size = 0
    this.#farHits = 0
    this.marker = Number.POSITIVE_INFINITY
  }
}
