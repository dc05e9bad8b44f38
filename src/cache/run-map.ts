/**
 * The mapping of one file onto homes, immutable, in shared memory: any thread can attach to it and look up without locks.
 *
 * A *run* says: pages [filePage, filePage + pageCount) of the file are those of home `home` from `homePage` on. What no run
 * covers is the file's own. The layout of the buffer; n is the number of runs:
 *
 * ```
 *   bytes            what                      type
 *   0        4       magic                     Int32
 *   4        4       n                         Int32
 *   8        8       size of the file, bytes   Float64
 *   16       8 n     filePage, ascending       Float64
 *   16+8n    8 n     homePage                  Float64
 *   16+16n   4 n     pageCount                 Int32
 *   16+20n   4 n     home number               Int32
 * ```
 * Written once by build(), before anybody else can know of the buffer; read by everybody.
 */
import { EntryKind, PAGE_BYTES } from './entry.ts'

/** One run, all in pages but the home's number. */
export interface Run {
  readonly filePage: number
  readonly pageCount: number
  readonly home: number
  readonly homePage: number
}

/** {@link RunMap.home} of a piece that is the file's own. */
export const OWN = -1
/** The number of no home: the run lies in the arena, in a mapping of the file's own. */
export const ARENA = 2 ** 31 - 1

const MAGIC = 0x53_50_52_31
const HEADER_BYTES = 16
const BYTES_PER_RUN = 24
const PAGES_PER_RUN_MAX = 2 ** 31 - 1

/**
 * Invariants (restated by {@link checkInvariants}):
 * - runs are sorted by filePage, not empty, do not overlap and begin before the end of the file;
 * - only the last page of the file may lie in a run partially: no run reaches beyond it;
 * - no run continues its predecessor (they would be one), unless that is as long as a run can be;
 * - no page number and no home number is negative.
 */
export class RunMap {
  /** What {@link attach} takes. */
  readonly buffer: SharedArrayBuffer
  readonly runCount: number
  /** Size in bytes of the file whose mapping this is. */
  readonly sizeBytes: number

  /** The piece found by the last {@link seek}. Its kind of entry. */
  kind: EntryKind = EntryKind.OWN
  /** Number of the home to read from, or {@link OWN} for the file itself. */
  home = OWN
  /** Where the sought byte is, in bytes of the home or the file. */
  offset = 0
  /** Bytes from there to the end of the piece, or of the file. 0: the sought byte is not in the file. */
  length = 0

  readonly #filePage: Float64Array
  readonly #homePage: Float64Array
  readonly #pageCount: Int32Array
  readonly #homeNumber: Int32Array
  /** The run where the last search ended: the first that ends after the offset sought then. */
  #cursor = 0

  private constructor(buffer: SharedArrayBuffer) {
    const header = new Int32Array(buffer, 0, 2)
    if (header[0] !== MAGIC) throw new Error('this buffer holds no RunMap')
    const n = header[1]!
    this.buffer = buffer
    this.runCount = n
    this.sizeBytes = new Float64Array(buffer, 8, 1)[0]!
    this.#filePage = new Float64Array(buffer, HEADER_BYTES, n)
    this.#homePage = new Float64Array(buffer, HEADER_BYTES + 8 * n, n)
    this.#pageCount = new Int32Array(buffer, HEADER_BYTES + 16 * n, n)
    this.#homeNumber = new Int32Array(buffer, HEADER_BYTES + 20 * n, n)
  }

  /** Builds a map from runs in file order; runs that continue each other become one. Throws if an invariant is violated. */
  static build(runs: Iterable<Run>, sizeBytes: number): RunMap {
    const merged = mergeRuns(runs)
    const n = merged.length
    const buffer = new SharedArrayBuffer(HEADER_BYTES + BYTES_PER_RUN * n)
    new Int32Array(buffer, 0, 2).set([MAGIC, n])
    new Float64Array(buffer, 8, 1)[0] = sizeBytes
    const map = new RunMap(buffer)
    for (let i = 0; i < n; i++) {
      const run = merged[i]!
      map.#filePage[i] = run.filePage
      map.#homePage[i] = run.homePage
      map.#pageCount[i] = run.pageCount
      map.#homeNumber[i] = run.home
    }
    map.checkInvariants()
    return map
  }

  /** The map of a file, not an empty one, that lies in one home as a whole. */
  static whole(home: number, sizeBytes: number): RunMap {
    return RunMap.build([{ filePage: 0, pageCount: Math.ceil(sizeBytes / PAGE_BYTES), home, homePage: 0 }], sizeBytes)
  }

  /** The map in a buffer that {@link build} filled, perhaps on another thread. */
  static attach(buffer: SharedArrayBuffer): RunMap {
    return new RunMap(buffer)
  }

  /**
   * Finds the piece that holds the byte at `byteOffset` and sets {@link kind}, {@link home}, {@link offset} and
   * {@link length}. Allocates nothing; ascending offsets cost no search. The fields are valid until the next seek on this object:
   * whoever waits between pieces keeps copies (see resolve.ts).
   */
  seek(byteOffset: number): void {
    const rest = this.sizeBytes - byteOffset
    const index = this.#search(byteOffset)
    if (index < this.runCount) {
      const start = this.#filePage[index]! * PAGE_BYTES
      if (start <= byteOffset) {
        const within = byteOffset - start
        this.kind = EntryKind.HOME_RUN
        this.home = this.#homeNumber[index]!
        this.offset = this.#homePage[index]! * PAGE_BYTES + within
        this.length = Math.max(0, Math.min(this.#pageCount[index]! * PAGE_BYTES - within, rest))
        return
      }
      this.length = start - byteOffset
    } else {
      this.length = Math.max(0, rest)
    }
    this.kind = EntryKind.OWN
    this.home = OWN
    this.offset = byteOffset
  }

  /** Run `index` as an object: for tests, status and printing. */
  run(index: number): Run {
    return {
      filePage: this.#filePage[index]!,
      pageCount: this.#pageCount[index]!,
      home: this.#homeNumber[index]!,
      homePage: this.#homePage[index]!,
    }
  }

  /** Bytes of the file that lie in homes. */
  runBytes(): number {
    let bytes = 0
    for (let i = 0; i < this.runCount; i++) bytes += this.#bytesOf(i)
    return bytes
  }

  /** Bytes of the file that lie in each home, by its number. */
  bytesByHome(): Map<number, number> {
    const bytes = new Map<number, number>()
    for (let i = 0; i < this.runCount; i++) {
      const home = this.#homeNumber[i]!
      bytes.set(home, (bytes.get(home) ?? 0) + this.#bytesOf(i))
    }
    return bytes
  }

  /** Where the last run ends, in bytes: what lies behind is the file's own. Less than a page behind the file's end at most. */
  get endOfRuns(): number {
    return this.runCount === 0 ? 0 : this.#endOf(this.runCount - 1)
  }

  /** One line a run, for people. */
  toString(): string {
    const lines = [`RunMap of a file of ${this.sizeBytes} bytes, ${this.runCount} runs`]
    for (let i = 0; i < this.runCount; i++) {
      const { filePage, pageCount, home, homePage } = this.run(i)
      lines.push(`  pages ${filePage}+${pageCount} → home ${home} page ${homePage}`)
    }
    return lines.join('\n')
  }

  /** Throws, with the map printed, if an invariant does not hold. */
  checkInvariants(): void {
    for (let i = 0; i < this.runCount; i++) {
      const run = this.run(i)
      const before = i === 0 ? undefined : this.run(i - 1)
      const lastPageEnd = Math.ceil(this.sizeBytes / PAGE_BYTES)
      const isSound =
        isIndex(run.filePage) &&
        isIndex(run.homePage) &&
        run.home >= 0 &&
        run.pageCount > 0 &&
        run.filePage + run.pageCount <= lastPageEnd &&
        (before === undefined || before.filePage + before.pageCount <= run.filePage) &&
        (before === undefined || !continues(before, run) || before.pageCount + run.pageCount > PAGES_PER_RUN_MAX)
      if (!isSound) throw new Error(`run ${i} breaks the map:\n${this}`)
    }
  }

  /** The first run that ends after `byteOffset`; runCount if none does. */
  #search(byteOffset: number): number {
    const at = this.#cursor
    const n = this.runCount
    if (at === 0 || this.#endOf(at - 1) <= byteOffset) {
      if (at === n || byteOffset < this.#endOf(at)) return at
      if (at + 1 === n || byteOffset < this.#endOf(at + 1)) {
        this.#cursor = at + 1
        return at + 1
      }
    }
    let low = 0
    let high = n
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#endOf(middle) <= byteOffset) low = middle + 1
      else high = middle
    }
    this.#cursor = low
    return low
  }

  #bytesOf(index: number): number {
    return Math.min(this.#endOf(index), this.sizeBytes) - this.#filePage[index]! * PAGE_BYTES
  }

  #endOf(index: number): number {
    return (this.#filePage[index]! + this.#pageCount[index]!) * PAGE_BYTES
  }
}

function isIndex(page: number): boolean {
  return Number.isSafeInteger(page) && page >= 0
}

function continues(before: Run, run: Run): boolean {
  return (
    before.home === run.home &&
    before.filePage + before.pageCount === run.filePage &&
    before.homePage + before.pageCount === run.homePage
  )
}

function mergeRuns(runs: Iterable<Run>): Run[] {
  const merged: Run[] = []
  for (const run of runs) {
    let { filePage, pageCount, homePage } = run
    const last = merged.at(-1)
    if (last !== undefined && continues(last, run)) {
      merged.pop()
      filePage = last.filePage
      homePage = last.homePage
      pageCount += last.pageCount
    }
    // A count takes 31 bits: 8 TiB.
    while (pageCount > PAGES_PER_RUN_MAX) {
      merged.push({ filePage, pageCount: PAGES_PER_RUN_MAX, home: run.home, homePage })
      filePage += PAGES_PER_RUN_MAX
      homePage += PAGES_PER_RUN_MAX
      pageCount -= PAGES_PER_RUN_MAX
    }
    merged.push({ filePage, pageCount, home: run.home, homePage })
  }
  return merged
}
