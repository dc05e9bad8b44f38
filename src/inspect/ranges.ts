/**
 * The shared ranges of one file system: which bytes of the device back which bytes of which file, and whether the file's
 * page cache holds them. One record per (extent, run of pages in one state), as columns; 29 bytes a record.
 */
import { withRoom } from './columns.ts'

/** What a file's page cache knows about a range. The order matters: a larger state includes the smaller. */
export const PageState = {
  /** Not in memory, and no trace that it ever was. */
  absent: 0,
  /** Was in memory and was evicted; the kernel still remembers. */
  evicted: 1,
  /** In memory. */
  resident: 2,
} as const
export type PageState = (typeof PageState)[keyof typeof PageState]

const CAPACITY_MIN = 64

/** Records in the order in which they were added. All offsets in bytes. Arrays are replaced as the list grows. */
export class RangeList {
  count = 0
  /** On the device (or, on btrfs, in the file system's address space). */
  start = new Float64Array(CAPACITY_MIN)
  end = new Float64Array(CAPACITY_MIN)
  /** Index of the file, see FileTable. */
  file = new Uint32Array(CAPACITY_MIN)
  /** Offset in the file of the first byte. */
  offset = new Float64Array(CAPACITY_MIN)
  state = new Uint8Array(CAPACITY_MIN)

  /** Adds [start, end) of the device, continuing the last record where both are one piece. Empty ranges are passed over. */
  add(start: number, end: number, file: number, offset: number, state: PageState): void {
    if (end <= start) return
    const last = this.count - 1
    if (
      last >= 0 &&
      this.file[last] === file &&
      this.state[last] === state &&
      this.end[last] === start &&
      this.offset[last]! + (start - this.start[last]!) === offset
    ) {
      this.end[last] = end
      return
    }
    const at = this.count++
    if (at === this.file.length) this.#grow(at)
    this.start[at] = start
    this.end[at] = end
    this.file[at] = file
    this.offset[at] = offset
    this.state[at] = state
  }

  #grow(index: number): void {
    this.start = withRoom(this.start, index)
    this.end = withRoom(this.end, index)
    this.file = withRoom(this.file, index)
    this.offset = withRoom(this.offset, index)
    this.state = withRoom(this.state, index)
  }
}
