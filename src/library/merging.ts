/**
 * Equal pages in a cache: when they are looked for, and for how long. What is done with them: cache/merge/merged-pages.ts.
 *
 * ```
 *   on load   each page, as it comes         always; where the user has set a limit, while the budget lasts
 *   by scan   what nobody has looked at yet  SLICE_MS at a time, as the budget allows
 *   at once   PageCache.merge                beside the budget: the user has asked for it
 * ```
 */
import { randomInt } from 'node:crypto'
import { createXXHash64 } from 'hash-wasm'
import { PAGE_BYTES } from '../cache/entry.ts'
import { CpuBudget } from '../cache/merge/cpu-budget.ts'
import { MergedPages } from '../cache/merge/merged-pages.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import type { Arena } from './arena.ts'
import { checkBoolean, outOfRange, wrongValue } from './arguments.ts'

/** How pages with equal bytes are merged: {@link PageCacheOptions.merge}. */
export interface MergeOptions {
  /**
   * The share of one processor that looking for equal pages may take, on load and by the scan together, on average: above 0, up to 1, which is no limit. Loads may take what was left over
   * in the half minute before; pages that they cannot look at are left to the scan. Not given, loads look at every page, whatever that takes, and the scan takes 0.05 besides.
   */
  readonly cpu?: number | undefined
  /** Look at each page as it is loaded. Default true. */
  readonly onLoad?: boolean | undefined
  /** Look, little by little, at what is cached and was not looked at yet. Default true. */
  readonly scan?: boolean | undefined
}

/** What merging has done, as KSM tells it: of {@link PageCacheStats.merge}. Pages are of 4096 bytes. */
export interface MergeStats {
  /** Pages in memory that stand for several. */
  readonly pagesShared: number
  /** Further pages that are found in those: so many need no memory. */
  readonly pagesSharing: number
  /** `pagesSharing` in bytes. */
  readonly bytesSaved: number
  /** Cached pages that were looked at and have no equal. */
  readonly pagesUnshared: number
  /** Pages that the last pass of the scan left alone, because they had been written not long before. */
  readonly pagesVolatile: number
  /** Pages that were looked at so far. */
  readonly pagesScanned: number
  /** Passes of the scan over the whole cache. */
  readonly fullScans: number
  /** Milliseconds that all this has taken. */
  readonly timeMs: number
  /** Bytes that are needed to find equal pages; part of the cache's memory. */
  readonly indexBytes: number
}

/** How far {@link PageCache.merge} has come. */
export interface MergeProgress {
  /** Bytes of the files that have been looked at. */
  readonly bytes: number
  /** Bytes of all the files. */
  readonly totalBytes: number
  /** Bytes that merging saves in the whole cache at this moment. */
  readonly bytesSaved: number
}

const SCAN_DEFAULT = 0.05
/** The keeper's thread is kept for so long at a time. */
const SLICE_MS = 2
/** Frames between two looks at the clock. */
const STRIDE = 32
/** From the end of a pass to the next. */
const REST_MS = 1000

/** Context: the keeper's thread. */
export class Merging {
  readonly pages: MergedPages
  readonly #looksOnLoad: boolean
  readonly #budget: CpuBudget
  /** Loads have to keep to the budget. */
  readonly #isLimited: boolean
  readonly #nowMs: () => number
  #timeMs = 0
  #beganMs = 0
  #stopScan = () => {}
  #isMidPass = false

  private constructor(pages: MergedPages, options: MergeOptions, nowMs: () => number) {
    this.pages = pages
    this.#looksOnLoad = options.onLoad !== false
    this.#isLimited = options.cpu !== undefined
    this.#budget = new CpuBudget(options.cpu ?? SCAN_DEFAULT, nowMs)
    this.#nowMs = nowMs
    if (options.scan !== false) this.#scanIn(REST_MS)
  }

  /** Begins to merge the pages of `keeper`, which lie in `arena`. `nowMs`: of a clock that never goes back. */
  static async begin(
    keeper: PageKeeper,
    arena: Arena,
    options: MergeOptions,
    nowMs: () => number = () => performance.now(),
  ): Promise<Merging> {
    const seed = () => randomInt(2 ** 32)
    const hasher = await createXXHash64(seed(), seed())
    const bytes = {
      hash(frame: number): number {
        const [a, b, c, d] = hasher.init().update(arena.bytes(frame)).digest('binary')
        return a! | (b! << 8) | (c! << 16) | (d! << 24)
      },
      isEqual: (a: number, b: number) => Buffer.compare(arena.bytes(a), arena.bytes(b)) === 0,
    }
    return new Merging(new MergedPages(keeper, bytes, seed()), options, nowMs)
  }

  /** Whether pages that are about to be published may be looked at now; if so, {@link endLoad} is to be called when they are. */
  beginLoad(): boolean {
    if (!this.#looksOnLoad || (this.#isLimited && !this.#budget.isAffordable)) return false
    this.#beganMs = this.#nowMs()
    return true
  }

  endLoad(): void {
    const ms = this.#nowMs() - this.#beganMs
    this.#timeMs += ms
    if (this.#isLimited) this.#budget.spend(ms)
  }

  /** Looks at pages [page, page + count) of `mapping`, as far as they are cached, whatever the budget says. */
  mergeNow(mapping: number, page: number, count: number): void {
    const beganMs = this.#nowMs()
    for (let i = 0; i < count; i++) this.pages.mergePage(mapping, page + i)
    this.#timeMs += this.#nowMs() - beganMs
  }

  stats(): MergeStats {
    const { shared, sharing, unshared, volatile, scanned, fullScans } = this.pages.counts
    return {
      pagesShared: shared,
      pagesSharing: sharing,
      bytesSaved: sharing * PAGE_BYTES,
      pagesUnshared: unshared,
      pagesVolatile: volatile,
      pagesScanned: scanned,
      fullScans,
      timeMs: this.#timeMs,
      indexBytes: this.pages.indexBytes,
    }
  }

  /** Ends the scan. */
  stop(): void {
    this.#stopScan()
  }

  #scan(): void {
    if (!this.#isMidPass && !this.pages.isBehind) {
      this.#scanIn(REST_MS)
      return
    }
    const beganMs = this.#nowMs()
    let ms = 0
    this.#isMidPass = true
    while (this.#isMidPass && ms < SLICE_MS) {
      if (this.pages.scan(STRIDE)) this.#isMidPass = false
      ms = this.#nowMs() - beganMs
    }
    this.#timeMs += ms
    this.#budget.spend(ms)
    const restMs = this.#budget.restAfter(ms)
    this.#scanIn(this.#isMidPass ? restMs : Math.max(restMs, REST_MS))
  }

  #scanIn(ms: number): void {
    const timer = setTimeout(() => this.#scan(), Math.ceil(ms)).unref()
    this.#stopScan = () => clearTimeout(timer)
  }
}

/** The option as given, or undefined: nothing is merged. Throws ERR_OUT_OF_RANGE, or ERR_INVALID_ARG_VALUE, where it makes no sense. */
export function mergeOptionsOf(merge: false | 'content' | MergeOptions | undefined): MergeOptions | undefined {
  if (merge === undefined || merge === false) return undefined
  if (merge === 'content') return {}
  if (typeof merge !== 'object' || merge === null)
    throw wrongValue(`merge is 'content', options or false, not ${String(merge)}`)
  checkBoolean('merge.onLoad', merge.onLoad)
  checkBoolean('merge.scan', merge.scan)
  const { cpu = SCAN_DEFAULT } = merge
  if (!(typeof cpu === 'number' && cpu > 0 && cpu <= 1))
    throw outOfRange(`merge.cpu: ${cpu} is no share of a processor, above 0 and up to 1`)
  return merge
}
