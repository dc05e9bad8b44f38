/**
 * One pass over the blocks of a file system: how often is each mapped, in memory, read?
 *
 * Let k(x) be the number of users of the device byte x, over the ranges that it lies in: all of them (`mapped`), those that can be in memory at all (`cacheable`: not where storage is accessed
 * directly), those whose file was read there (`read`: resident now, or evicted), and those that are `resident`. Between two neighbouring ends of ranges k is
 * constant, so the sums over x of (k - 1) and the like are sums over at most 2 n stretches, for n distinct ranges.
 *
 * Each file gets its part, too: a byte that is in memory k times has k - 1 copies too many, and each of the k users
 * answers for (k - 1) / k of one. A place that lies under thousands of ranges must not cost thousands of additions, so the
 * part is the difference of a running integral G(x) between a range's end and its start: two additions a range, whatever
 * k is. It is the same for every user of the range; a file's part is the sum over its uses. Hence O(n log n), for sorting,
 * and one addition a use.
 *
 * A file that uses a block in two places counts twice: the page cache, which goes by file offset, holds it twice.
 */
import type { FileTable } from './files.ts'
import { ascendingOrder } from './order.ts'
import { PageState, type RangeTable } from './ranges.ts'

/** Sums over the device bytes of one file system, or of several added up. Exact integers below 2^53. */
export interface SweepSums {
  /** Bytes of the device that more than one place uses: each counted once. */
  shared: number
  /** Σ (mapped - 1): what would be stored more than once without sharing. */
  saved: number
  /** Σ (cacheable - 1) where that is positive: what would be in memory more than once if everything were read. */
  potential: number
  /** Bytes of the device that are in memory more than once: each counted once. */
  cachedAgain: number
  /** Σ (resident - 1) where that is positive: bytes of memory that hold what another page holds, too. */
  duplicate: number
  /** Σ (read - 1) where that is positive: bytes that the device delivered again. */
  reread: number
  /** Bytes that the file system calls shared but that only one place of the walk uses: the others are elsewhere. */
  elsewhere: number
}

export function noSums(): SweepSums {
  return { shared: 0, saved: 0, potential: 0, cachedAgain: 0, duplicate: 0, reread: 0, elsewhere: 0 }
}

/** Parts by range, as a use of the range answers for them. Bytes; see FileTable for what they mean. */
class RangeParts {
  readonly shared: Float64Array
  readonly cachedAgain: Float64Array
  readonly duplicate: Float64Array
  readonly potential: Float64Array
  readonly reread: Float64Array

  constructor(count: number) {
    this.shared = new Float64Array(count)
    this.cachedAgain = new Float64Array(count)
    this.duplicate = new Float64Array(count)
    this.potential = new Float64Array(count)
    this.reread = new Float64Array(count)
  }
}

/**
 * Sweeps over `ranges`, adds to `sums`, and to the columns of `files` that are the sweep's. Joins files that share a block.
 */
export function sweep(ranges: RangeTable, files: FileTable, sums: SweepSums): void {
  const { count, start, end, state, users } = ranges
  const parts = new RangeParts(count)
  const byStart = ascendingOrder(start, count)
  const byEnd = ascendingOrder(end, count)
  // k, by kind of use
  let mapped = 0
  let cacheable = 0
  let read = 0
  let resident = 0
  // G(x), by kind of part
  let shared = 0
  let cachedAgain = 0
  let duplicate = 0
  let potential = 0
  let reread = 0

  let position = 0
  let begun = 0
  let lastBegun = 0
  for (let ended = 0; ended < count; ) {
    const begins = begun < count ? byStart[begun]! : -1
    const ends = byEnd[ended]!
    // What ends at a byte does not cover it: ends come before starts.
    const isStart = begins >= 0 && start[begins]! < end[ends]!
    const next = isStart ? start[begins]! : end[ends]!
    const length = next - position
    position = next

    // 1. The stretch that ends here.
    if (mapped === 1) sums.elsewhere += length
    else if (mapped > 1) {
      shared += length
      sums.shared += length
      sums.saved += length * (mapped - 1)
      files.groupShared[lastBegun]! += length
      if (cacheable > 1) {
        potential += (length * (cacheable - 1)) / cacheable
        sums.potential += length * (cacheable - 1)
        files.groupPotential[lastBegun]! += length * (cacheable - 1)
      }
      if (read > 1) {
        reread += (length * (read - 1)) / read
        sums.reread += length * (read - 1)
        files.groupReread[lastBegun]! += length * (read - 1)
      }
      if (resident > 1) {
        cachedAgain += length
        duplicate += (length * (resident - 1)) / resident
        sums.cachedAgain += length
        sums.duplicate += length * (resident - 1)
        files.groupDuplicate[lastBegun]! += length * (resident - 1)
      }
    }

    // 2. The range that starts or ends here.
    const range = isStart ? begins : ends
    const sign = isStart ? 1 : -1
    const change = sign * users[range]!
    if (isStart) {
      if (mapped === 0) {
        // No range is open, so the integrals may start anew: small numbers stay exact.
        shared = cachedAgain = duplicate = potential = reread = 0
      } else {
        // All open ranges overlap here and are joined already; the last that began is joined to them even if it has ended.
        files.join(lastBegun, ranges.fileOf(range))
      }
      lastBegun = ranges.fileOf(range)
      begun++
    } else ended++
    mapped += change
    parts.shared[range]! -= sign * shared
    if (state[range]! >= PageState.absent) {
      cacheable += change
      parts.potential[range]! -= sign * potential
    }
    if (state[range]! >= PageState.evicted) {
      read += change
      parts.reread[range]! -= sign * reread
    }
    if (state[range] === PageState.resident) {
      resident += change
      parts.cachedAgain[range]! -= sign * cachedAgain
      parts.duplicate[range]! -= sign * duplicate
    }
  }
  addUses(ranges, parts, files)
}

/** Gives each file the parts of its uses, and joins the users of each range. */
function addUses(ranges: RangeTable, parts: RangeParts, files: FileTable): void {
  for (let row = 0; row < ranges.rowCount; row++) {
    const file = ranges.file[row]!
    const first = ranges.firstUse[row]!
    for (let use = first; use < first + ranges.useCount[row]!; use++) {
      const range = ranges.uses[use]!
      if (ranges.users[range]! > 1) files.join(file, ranges.fileOf(range))
      files.shared[file]! += parts.shared[range]!
      files.cachedAgain[file]! += parts.cachedAgain[range]!
      files.duplicate[file]! += parts.duplicate[range]!
      files.potential[file]! += parts.potential[range]!
      files.reread[file]! += parts.reread[range]!
    }
  }
}

/**
 * Calls `visit` for stretches of the device that together cover every byte of `ranges` exactly once, each with one of the
 * ranges that lie over it: to read what several files share once.
 */
export function coverOnce(ranges: RangeTable, visit: (file: number, offset: number, length: number) => void): void {
  const { count, start, end, offset } = ranges
  let covered = Number.NEGATIVE_INFINITY
  for (const range of ascendingOrder(start, count)) {
    const from = Math.max(start[range]!, covered)
    if (end[range]! <= from) continue
    visit(ranges.fileOf(range), offset[range]! + (from - start[range]!), end[range]! - from)
    covered = end[range]!
  }
}
