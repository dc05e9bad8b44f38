/**
 * What is known about each stored page (see file-uses.ts): its content, as a hash, and how many pages of files use it.
 *
 * Memory: 11 bytes a stored page.
 *
 * Two pages with equal hashes of 64 bits are taken for equal in a plan; with 2^28 pages (1 TiB) that is wrong in less than one plan of 500. Before
 * anything is shared the kernel compares every byte.
 */
import type { FileUses } from './file-uses.ts'

/** Bytes of memory for each stored page, here and in the table of anchors. */
export const BYTES_PER_STORED_PAGE = 12

/** Everything about the content is known. */
const READ = 1
/** Nothing but zeros. */
const ZEROS = 2
/** A file that was looked at keeps it. */
const KEPT = 4
const USERS_MAX = 0xffff

export class StoredPages {
  readonly count: number
  readonly #low: Uint32Array
  readonly #high: Uint32Array
  readonly #flags: Uint8Array
  /** Pages of files; one more if others use it that we do not look at. From USERS_MAX on nobody counts. */
  readonly #users: Uint16Array
  /** See {@link FileUses.sameAs}: users of one place are counted together. */
  readonly #sameAs: ReadonlyMap<number, number>

  constructor(uses: FileUses, count: number) {
    this.count = count
    this.#low = new Uint32Array(count)
    this.#high = new Uint32Array(count)
    this.#flags = new Uint8Array(count)
    this.#users = new Uint16Array(count)
    this.#sameAs = uses.sameAs
    this.countUsers(uses)
  }

  isRead(page: number): boolean {
    return (this.#flags[page]! & READ) !== 0
  }

  setRead(page: number, low: number, high: number, isZeros: boolean): void {
    this.#low[page] = low
    this.#high[page] = high
    this.#flags[page]! |= READ | (isZeros ? ZEROS : 0)
  }

  /** Is it worth looking for an equal page? Not for zeros, which are everywhere; nor where a file that uses it found none. */
  isOpen(page: number): boolean {
    return this.#flags[page] === READ
  }

  /** May it be what others are compared with at first? */
  isDistinctive(page: number): boolean {
    return (this.#flags[page]! & (READ | ZEROS)) === READ
  }

  keep(page: number): void {
    this.#flags[page]! |= KEPT
  }

  low(page: number): number {
    return this.#low[page]!
  }

  hasEqualHash(a: number, b: number): boolean {
    return this.#low[a] === this.#low[b] && this.#high[a] === this.#high[b]
  }

  areEqual(a: number, b: number): boolean {
    return this.hasEqualHash(a, b) && (this.#flags[a]! & this.#flags[b]! & READ) !== 0
  }

  /** A page of a file does not use it any more. True if nobody uses its place on the device, now. */
  leave(page: number): boolean {
    const place = this.#placeOf(page)
    const users = this.#users[place]!
    if (users === USERS_MAX) return false
    this.#users[place] = users - 1
    return users === 1
  }

  #placeOf(page: number): number {
    return this.#sameAs.size === 0 ? page : (this.#sameAs.get(page) ?? page)
  }

  /**
   * Counts the users anew: as before any page was left. Where the file system says that others use an extent too, and we know of none, there is one whom we do not know. btrfs says it of
   * an extent as a whole, also where others use only another part of it: some pages that are saved are then not counted.
   */
  countUsers({ useCount, stored, pages, isShared }: FileUses): void {
    const users = this.#users.fill(0)
    for (let use = 0; use < useCount; use++) {
      const end = stored[use]! + pages[use]!
      for (let page = stored[use]!; page < end; page++) {
        const place = this.#placeOf(page)
        if (users[place]! < USERS_MAX) users[place]!++
      }
    }
    for (let use = 0; use < useCount; use++) {
      if (isShared[use] === 0) continue
      const end = stored[use]! + pages[use]!
      for (let page = stored[use]!; page < end; page++) {
        const place = this.#placeOf(page)
        if (users[place] === 1) users[place] = 2
      }
    }
  }
}
