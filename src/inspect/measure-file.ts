/**
 * One file: its size, its cached pages and, where it shares storage, which blocks it shares and which of them are in
 * memory. Nothing is read, written or brought into memory; access times stay (as far as the kernel lets us ask for that).
 *
 * Most files share nothing. They cost one statx and, unless they are empty, open, cachestat, FIEMAP, close.
 */
import { CacheStat } from '../linux/cachestat.ts'
import { ERRNO } from '../linux/errors.ts'
import {
  close,
  lseek,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  openat,
  SEEK_DATA,
  SEEK_HOLE,
} from '../linux/file.ts'
import type { Pointer } from '../linux/native.ts'
import { Statx } from '../linux/statx.ts'
import { ExtentFlag, ExtentList, isShareable } from '../storage/extents.ts'
import { whyFileUntrusted } from '../storage/filesystem.ts'
import { readExtents } from '../storage/read-extents.ts'
import { PAGE_BYTES } from '../util/page.ts'
import type { WalkedFilesystem } from './filesystems.ts'
import { DIRTY, PageStates, WINDOW_PAGES } from './page-states.ts'
import { FileRanges, PageState } from './ranges.ts'
import { type ResidencySource, residencySource } from './residency.ts'

/** Holes of files larger than this are not asked about where mincore alone must do. */
const WHOLE_FILE_MAX = 2 ** 30
/** Looks at a file whose dirty pages are being written. */
const ATTEMPTS = 3
const NOT_COMPARABLE = ExtentFlag.ENCODED | ExtentFlag.INLINE

/** What became of a file. */
type Outcome =
  /** Counted; it shares nothing. */
  | 'private'
  /** It shares storage: {@link FileProbe.extents} says where. */
  | 'sharing'

/** The last file measured. Bytes, unless said otherwise. One object for all files. */
export class FileProbe {
  /** Of the file, before it was opened. */
  readonly stat = new Statx()
  readonly extents = new ExtentList()
  /** Where it shares which blocks, after {@link readRanges}. */
  readonly ranges = new FileRanges()
  /** In memory now. */
  cached = 0
  /** It is accessed directly (DAX): nothing of it is ever in memory. */
  isDirect = false
  /** Not known how much is in memory. */
  residencyUnknown = false
  /** Not known whether it shares storage. */
  sharingUnknown = false
  /** Shared storage that cannot be compared page by page, for it is compressed. */
  incomparable = 0
  /** Shared blocks whose pages are dirty: they count as the file's own. */
  unstable = 0

  readonly #sync: boolean
  readonly #extentsAfter = new ExtentList()
  readonly #counts = new CacheStat()
  readonly #pages = new PageStates()
  /** Owner for whose files O_NOATIME was refused last. */
  #refusingUid = -1
  #fd = -1
  /** Counts of the whole file, in pages. */
  #cachedPages = 0
  /** The states of its pages differ, or some are dirty. */
  #hasDetails = false
  /** Some pages are dirty or under writeback. */
  #hasUnstable = false
  /** cachestat works on it. */
  #countable = true

  /** `sync`: write dirty pages first, so that none has to be left out. */
  constructor(sync: boolean) {
    this.#sync = sync
  }

  /**
   * Opens the file `pointer` in `directoryFd`, whose `stat` was read, and measures it. Returns 'private', 'sharing', or
   * -errno. In any case call {@link release} when done with it.
   */
  measure(directoryFd: number, pointer: Pointer, filesystem: WalkedFilesystem): Outcome | number {
    this.cached = this.incomparable = this.unstable = 0
    this.isDirect = this.stat.isDax
    this.residencyUnknown = filesystem.residency === 'unknown'
    this.sharingUnknown = filesystem.sharing === 'unknown'
    const { size, blocks } = this.stat
    if ((size === 0 && blocks === 0) || (filesystem.residency === 'unknown' && filesystem.sharing !== 'extents')) {
      return 'private'
    }
    const fd = this.#open(directoryFd, pointer)
    if (fd < 0) return fd
    this.#fd = fd

    const mayShare = filesystem.sharing === 'extents' && blocks > 0
    if (!mayShare) {
      this.#countCached(filesystem.residency)
      return 'private'
    }
    // What is dirty now is left out below even if it has got its new block by then. With `sync` it has it already.
    if (!this.#sync) this.#countCached(filesystem.residency)
    const mapped = this.#readExtents(this.extents)
    if (this.#sync) this.#countCached(filesystem.residency)
    if (mapped < 0) this.sharingUnknown = true
    else if (this.#hasShareable()) {
      if (whyFileUntrusted(fd, filesystem.identified) === undefined) return 'sharing'
      this.sharingUnknown = true
    }
    return 'private'
  }

  /**
   * Finds the shared {@link ranges} of the file just measured. Dirty pages on their way to new blocks may arrive while we
   * look: then once more. Returns false if they never came to rest.
   */
  readRanges(): boolean {
    for (let attempt = 1; ; attempt++) {
      this.#mapRanges()
      if (!this.#hasUnstable) return true
      const again = this.#readExtents(this.#extentsAfter)
      if (again >= 0 && this.#extentsAfter.equals(this.extents)) return true
      if (attempt === ATTEMPTS || again < 0) return false
      this.#readExtents(this.extents)
    }
  }

  /** Ranges from extents and the states of pages. */
  #mapRanges(): void {
    const { ranges } = this
    ranges.clear()
    this.unstable = 0
    const { count, logical, physical, length, flags } = this.extents
    const pages = Math.ceil(this.stat.size / PAGE_BYTES)
    const { states } = this.#pages
    /** The window of pages whose states we have. */
    let first = 0
    let last = 0
    for (let i = 0; i < count; i++) {
      if (!isShareable(flags[i]!)) continue
      const start = logical[i]!
      const end = start + length[i]!
      const shift = physical[i]! - start
      if (!this.#hasDetails) {
        // All pages of the file are in memory and clean, or none is.
        const state = this.#cachedPages > 0 ? PageState.resident : this.isDirect ? PageState.direct : PageState.absent
        ranges.add(start + shift, end + shift, start, state)
        continue
      }
      for (let at = start; at < end; ) {
        const page = Math.floor(at / PAGE_BYTES)
        if (page < first || page >= last) {
          first = page - (page % WINDOW_PAGES)
          last = Math.min(first + WINDOW_PAGES, pages)
          this.#readStates(first, last - first)
        }
        const state = states[page - first]!
        let next = page + 1
        while (next < last && next * PAGE_BYTES < end && states[next - first] === state) next++
        const to = Math.min(end, next * PAGE_BYTES)
        if (state === DIRTY) this.unstable += to - at
        else ranges.add(at + shift, to + shift, at, state as PageState)
        at = to
      }
    }
  }

  /** Closes the file. */
  release(): void {
    if (this.#fd !== -1) close(this.#fd)
    this.#fd = -1
  }

  #open(directoryFd: number, pointer: Pointer): number {
    // O_NONBLOCK: should a fifo or device have taken the name, its open returns at once.
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
    const { uid } = this.stat
    if (uid === this.#refusingUid) return openat(directoryFd, pointer, flags)
    const fd = openat(directoryFd, pointer, flags | O_NOATIME)
    if (fd !== -ERRNO.EPERM) return fd
    // Only a file's owner may ask for O_NOATIME.
    this.#refusingUid = uid
    return openat(directoryFd, pointer, flags)
  }

  #readExtents(out: ExtentList): number {
    const end = Math.ceil(this.stat.size / PAGE_BYTES) * PAGE_BYTES
    return readExtents(this.#fd, 0, end, out, undefined, this.#sync)
  }

  #readStates(first: number, count: number): void {
    if (this.#pages.read(this.#fd, first, count, this.#countable) >= 0) return
    this.residencyUnknown = true
    this.#pages.states.fill(PageState.absent)
  }

  /** Finds out how much of the file is in memory, and whether its pages differ from one another in that. */
  #countCached(best: ResidencySource): void {
    this.#cachedPages = 0
    this.#hasDetails = false
    this.#hasUnstable = false
    // What the kernel keeps of it in the place of pages cachestat would take for evicted ones.
    if (this.isDirect) return
    const counts = this.#counts
    const source = residencySource(this.#fd, this.stat, best, counts)
    this.residencyUnknown = source === 'unknown'
    this.#countable = source === 'cachestat'
    if (source === 'mincore') this.#countByMincore()
    if (source !== 'cachestat') return
    this.#cachedPages = counts.cached
    this.cached = counts.cached * PAGE_BYTES
    this.#hasUnstable = counts.dirty + counts.writeback > 0
    this.#hasDetails = this.#isPartlyCached() || this.#hasUnstable || counts.evicted > 0
  }

  /** Residency of the whole file where cachestat does not know. */
  #countByMincore(): void {
    const { size } = this.stat
    let cachedPages = 0
    let at = 0
    let dataEnd = size <= WHOLE_FILE_MAX ? size : 0
    while (at < size) {
      if (at >= dataEnd) {
        at = lseek(this.#fd, at, SEEK_DATA)
        if (at < 0) break
        dataEnd = lseek(this.#fd, at, SEEK_HOLE)
        if (dataEnd < 0) dataEnd = size
      }
      const first = Math.floor(at / PAGE_BYTES)
      const count = Math.min(WINDOW_PAGES, Math.ceil(dataEnd / PAGE_BYTES) - first)
      this.#readStates(first, count)
      const { states } = this.#pages
      for (let i = 0; i < count; i++) if (states[i] === PageState.resident) cachedPages++
      at = (first + count) * PAGE_BYTES
    }
    this.#cachedPages = cachedPages
    this.cached = cachedPages * PAGE_BYTES
    this.#hasDetails = this.#isPartlyCached()
  }

  #isPartlyCached(): boolean {
    return this.#cachedPages > 0 && this.#cachedPages < Math.ceil(this.stat.size / PAGE_BYTES)
  }

  #hasShareable(): boolean {
    const { count, length, flags } = this.extents
    let found = false
    for (let i = 0; i < count; i++) {
      if (isShareable(flags[i]!)) found = true
      else if ((flags[i]! & ExtentFlag.SHARED) !== 0 && (flags[i]! & NOT_COMPARABLE) !== 0) {
        this.incomparable += length[i]!
      }
    }
    return found
  }
}
