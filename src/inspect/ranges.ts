/**
 * The shared ranges of files: which bytes of the device back which bytes of which file, and whether the file's page cache
 * holds them. One record per (extent, run of pages in one state).
 */
import { makeRoom, withRoom } from './columns.ts'

/** What a file's page cache knows about a range. The order matters: a larger state includes the smaller. */
export const PageState = {
  /** Never in memory: the storage is accessed directly (DAX). */
  direct: 0,
  /** Not in memory, and no trace that it ever was. */
  absent: 1,
  /** Was in memory and was evicted; the kernel still remembers. */
  evicted: 2,
  /** In memory. */
  resident: 3,
} as const
export type PageState = (typeof PageState)[keyof typeof PageState]

const CAPACITY_MIN = 64

/** The ranges of one file, in file order. All offsets in bytes. Arrays are replaced as the list grows. */
export class FileRanges {
  count = 0
  /** On the device (or, on btrfs, in the file system's address space). */
  start = new Float64Array(CAPACITY_MIN)
  end = new Float64Array(CAPACITY_MIN)
  /** In the file, of the first byte. */
  offset = new Float64Array(CAPACITY_MIN)
  state = new Uint8Array(CAPACITY_MIN)

  clear(): void {
    this.count = 0
  }

  /** Adds [start, end) of the device, continuing the last range where both are one piece. Empty ranges are passed over. */
  add(start: number, end: number, offset: number, state: PageState): void {
    if (end <= start) return
    const last = this.count - 1
    if (
      last >= 0 &&
      this.state[last] === state &&
      this.end[last] === start &&
      this.offset[last]! + (start - this.start[last]!) === offset
    ) {
      this.end[last] = end
      return
    }
    const at = this.count++
    if (at === this.state.length) {
      makeRoom(this, at, 'start', 'end', 'offset', 'state')
    }
    this.start[at] = start
    this.end[at] = end
    this.offset[at] = offset
    this.state[at] = state
  }
}

/** Slots in use, at most, before the index of ranges doubles. */
const LOAD_MAX = 0.6

/**
 * The ranges of all files of one file system, each different one (start, end, state) once however many files use it:
 * memory goes with the distinct extents that are shared, not with the clones that share them.
 *
 * A *use* is a file's mention of a range, four bytes. A file whose ranges are all those of an earlier file, as those of
 * an untouched clone are, has the uses of that file and needs none of its own.
 *
 * Invariants:
 * - no two ranges are equal in start, end and state;
 * - `users[r]` is the number of times that files mention r; it is positive;
 * - the file in row `row[r]` mentions r, and has it at `offset[r]`.
 */
export class RangeTable {
  /** Distinct ranges. */
  count = 0
  start = new Float64Array(CAPACITY_MIN)
  end = new Float64Array(CAPACITY_MIN)
  state = new Uint8Array(CAPACITY_MIN)
  users = new Uint32Array(CAPACITY_MIN)
  /** One of the users: the last that came, for the next one is mostly its clone. */
  row = new Uint32Array(CAPACITY_MIN)
  offset = new Float64Array(CAPACITY_MIN)

  /** Files that have ranges. */
  rowCount = 0
  /** Index of the file in a row, see FileTable. */
  file = new Uint32Array(CAPACITY_MIN)
  firstUse = new Uint32Array(CAPACITY_MIN)
  useCount = new Uint32Array(CAPACITY_MIN)
  /** Ranges, file after file. */
  uses = new Uint32Array(CAPACITY_MIN)

  #usesTaken = 0
  /** Open addressing: range + 1, or 0 for an empty slot. */
  #slots = new Uint32Array(2 * CAPACITY_MIN)

  /** Adds the ranges of `file`. A file that has none leaves no trace. */
  addFile(file: number, ranges: FileRanges): void {
    const { count } = ranges
    if (count === 0) return
    const row = this.rowCount++
    const first = this.#usesTaken
    this.uses = withRoom(this.uses, first + count - 1)
    let twin = -1
    for (let i = 0; i < count; i++) {
      const range = this.#find(ranges.start[i]!, ranges.end[i]!, ranges.state[i]!)
      if (i === 0 && this.users[range]! > 0) twin = this.row[range]!
      this.users[range]!++
      this.row[range] = row
      this.offset[range] = ranges.offset[i]!
      this.uses[first + i] = range
    }
    const hasTwin = twin >= 0 && this.#hasUses(twin, first, count)
    if (!hasTwin) this.#usesTaken += count
    if (row === this.file.length) makeRoom(this, row, 'file', 'firstUse', 'useCount')
    this.file[row] = file
    this.firstUse[row] = hasTwin ? this.firstUse[twin]! : first
    this.useCount[row] = count
  }

  /** The file that {@link row} names for a range. */
  fileOf(range: number): number {
    return this.file[this.row[range]!]!
  }

  /** Are the uses of `row` those in [first, first + count)? */
  #hasUses(row: number, first: number, count: number): boolean {
    if (this.useCount[row] !== count) return false
    const own = this.firstUse[row]!
    for (let i = 0; i < count; i++) if (this.uses[own + i] !== this.uses[first + i]) return false
    return true
  }

  /** The range, which is added without users if it is new. */
  #find(start: number, end: number, state: number): number {
    const mask = this.#slots.length - 1
    let slot = hashOf(start, end, state) & mask
    for (let entry = this.#slots[slot]!; entry !== 0; entry = this.#slots[slot]!) {
      const range = entry - 1
      if (this.start[range] === start && this.end[range] === end && this.state[range] === state) return range
      slot = (slot + 1) & mask
    }
    const range = this.count++
    if (range === this.state.length) this.#grow(range)
    this.start[range] = start
    this.end[range] = end
    this.state[range] = state
    this.#slots[slot] = range + 1
    if (this.count > this.#slots.length * LOAD_MAX) this.#rehash()
    return range
  }

  #rehash(): void {
    const slots = new Uint32Array(this.#slots.length * 2)
    const mask = slots.length - 1
    for (let range = 0; range < this.count; range++) {
      let slot = hashOf(this.start[range]!, this.end[range]!, this.state[range]!) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = range + 1
    }
    this.#slots = slots
  }

  #grow(index: number): void {
    makeRoom(this, index, 'start', 'end', 'state', 'users', 'row', 'offset')
  }
}

/** 32 bits that differ for neighbouring extents, from addresses in units of a sector. */
function hashOf(start: number, end: number, state: number): number {
  const sector = start / 512
  const low = (sector % 2 ** 32) | 0
  const high = (sector / 2 ** 32) | 0
  const length = ((end - start) / 512) | 0
  const mixed = Math.imul(low ^ Math.imul(high, 0x85ebca6b) ^ Math.imul(length, 0xc2b2ae35), 0x9e3779b1) + state
  return mixed ^ (mixed >>> 15)
}
