/**
 * Reads much of many files without costing a host its page cache: readahead is off, and what a read brought into memory is
 * dropped again behind it. What was there before stays there.
 */
import { CacheStat } from '../linux/cachestat.ts'
import { ERRNO } from '../linux/errors.ts'
import {
  fadvise,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  openat,
  POSIX_FADV_DONTNEED,
  POSIX_FADV_RANDOM,
  POSIX_FADV_WILLNEED,
  pread,
} from '../linux/file.ts'
import type { Pointer } from '../linux/native.ts'
import type { Statx } from '../linux/statx.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { PageStates, WINDOW_PAGES } from './page-states.ts'
import { PageState } from './ranges.ts'
import { type ResidencySource, residencySource } from './residency.ts'

const READ_BYTES = 2 ** 20
/** The kernel cuts off what is more than the device takes at once. */
const PREFETCH_BYTES = 256 * 1024
/** How long readahead that somebody else's read had arranged for may take to arrive, at most: looks, and the pause before each. */
const ARRIVAL_LOOKS = 100
const ARRIVAL_PAUSE_MS = 1
const WINDOW_BYTES = WINDOW_PAGES * PAGE_BYTES

/** Opens a file for reading that leaves no trace where that is allowed. A descriptor or -errno. */
export function openQuietly(directoryFd: number, pointer: Pointer): number {
  // O_NONBLOCK: should a fifo or device have taken the name, its open returns at once.
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
  const fd = openat(directoryFd, pointer, flags | O_NOATIME)
  // Only a file's owner may ask for O_NOATIME.
  return fd === -ERRNO.EPERM ? openat(directoryFd, pointer, flags) : fd
}

/** Called with pieces of a file, in order. `bytes` is used again for the next piece; `offset` is that of its first byte. */
type PieceVisitor = (bytes: Uint8Array, offset: number) => void

/** One file at a time, blocking the thread. */
export class QuietReader {
  readonly #counts = new CacheStat()
  readonly #pages = new PageStates()
  /** What was in memory behind the pages noted last. */
  readonly #ahead = new PageStates()
  readonly #now = new PageStates()
  readonly #clock = new Int32Array(new SharedArrayBuffer(4))
  readonly #buffer = new Uint8Array(READ_BYTES)
  #fd = -1
  #size = 0
  /** How to ask which pages of the file at hand are in memory. */
  #residency: ResidencySource = 'unknown'

  /** Turns to another open file. `best` is what its file system allows. */
  begin(fd: number, stat: Statx, best: ResidencySource): void {
    this.#fd = fd
    this.#size = stat.size
    this.#residency = residencySource(fd, stat, best, this.#counts)
    // A read brings in what it asks for and nothing beyond.
    fadvise(fd, 0, 0, POSIX_FADV_RANDOM)
  }

  /** Reads [start, end), `start` at the beginning of a page, or up to the file's end. Returns 0 or -errno. */
  read(start: number, end: number, visit: PieceVisitor): number {
    for (let at = start; at < end; ) {
      const windowEnd = Math.min(end, (Math.floor(at / WINDOW_BYTES) + 1) * WINDOW_BYTES)
      const first = at / PAGE_BYTES
      const count = Math.ceil(windowEnd / PAGE_BYTES) - first
      const mustDrop = this.notePresent(first, count)
      const aheadCount = this.#noteAhead(first + count, count)
      const error = this.#readWindow(at, windowEnd, visit)
      if (mustDrop) this.dropOthers(first, count)
      if (aheadCount > 0) this.#dropAhead(first + count, aheadCount)
      if (error < 0) return error
      at = windowEnd
    }
    return 0
  }

  /** Has the device begin to read pages that are about to be needed, of this file or by the kernel itself. */
  prefetch(first: number, count: number): void {
    const end = (first + count) * PAGE_BYTES
    for (let at = first * PAGE_BYTES; at < end; at += PREFETCH_BYTES)
      fadvise(this.#fd, at, Math.min(PREFETCH_BYTES, end - at), POSIX_FADV_WILLNEED)
  }

  /** Notes which of up to WINDOW_PAGES pages are in memory. False if nothing need, or may, be dropped after they were read. */
  notePresent(first: number, count: number): boolean {
    if (this.#residency === 'unknown') return false
    if (this.#pages.read(this.#fd, first, count, this.#residency === 'cachestat') < 0) return false
    return this.#pages.states.subarray(0, count).some(isAbsent)
  }

  /** Drops those of the pages noted last that were not in memory then. */
  dropOthers(first: number, count: number): void {
    this.#dropAbsent(this.#pages.states, first, count)
  }

  /**
   * Pages that came into memory ahead of somebody's reading bear a mark, and who reads the marked one has the kernel read on, in
   * the background, POSIX_FADV_RANDOM or not. So where some of the pages noted last are in memory, those from page `first` on are
   * noted, too. Returns how many were.
   */
  #noteAhead(first: number, noted: number): number {
    const count = Math.min(WINDOW_PAGES, Math.ceil(this.#size / PAGE_BYTES) - first)
    if (this.#residency === 'unknown' || count <= 0) return 0
    if (this.#pages.states.subarray(0, noted).every(isAbsent)) return 0
    return this.#ahead.read(this.#fd, first, count, this.#residency === 'cachestat') < 0 ? 0 : count
  }

  /** Drops what has come of the pages noted by {@link #noteAhead}, also what is only on its way: that cannot be dropped before it is there. */
  #dropAhead(first: number, count: number): void {
    const { states } = this.#ahead
    for (let look = 0; look < ARRIVAL_LOOKS; look++) {
      if (this.#now.read(this.#fd, first, count, this.#residency === 'cachestat') < 0) return
      const now = this.#now.states
      let hasCome = false
      for (let i = 0; i < count && !hasCome; i++) hasCome = isAbsent(states[i]!) && !isAbsent(now[i]!)
      if (!hasCome) return
      if (look > 0) Atomics.wait(this.#clock, 0, 0, ARRIVAL_PAUSE_MS)
      this.#dropAbsent(states, first, count)
    }
  }

  /** Drops those of `count` pages that are absent by `states`. */
  #dropAbsent(states: Uint8Array, first: number, count: number): void {
    for (let page = 0; page < count; ) {
      let next = page + 1
      while (next < count && isAbsent(states[next]!) === isAbsent(states[page]!)) next++
      if (isAbsent(states[page]!))
        fadvise(this.#fd, (first + page) * PAGE_BYTES, (next - page) * PAGE_BYTES, POSIX_FADV_DONTNEED)
      page = next
    }
  }

  #readWindow(start: number, end: number, visit: PieceVisitor): number {
    const buffer = this.#buffer
    const fd = this.#fd
    for (let at = start; at < end; at += READ_BYTES) {
      const wanted = Math.min(READ_BYTES, end - at)
      const next = at + wanted
      // The device works on the next piece while this one is looked at.
      if (next < end) fadvise(fd, next, Math.min(READ_BYTES, end - next), POSIX_FADV_WILLNEED)
      const got = pread(fd, buffer, wanted, at)
      if (got < 0) return got
      visit(buffer.subarray(0, got), at)
      if (got < wanted) return 0
    }
    return 0
  }
}

function isAbsent(state: number): boolean {
  return state < PageState.resident
}
