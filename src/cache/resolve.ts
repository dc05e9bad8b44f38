/**
 * Resolving: from a range of a file to the pieces that its bytes are read from.
 *
 * ```
 *   walk.start(map, offset, length)
 *   while (walk.next()) pread(walk.home === OWN ? file : homes[walk.home], walk.length, walk.offset) → reply + walk.done
 * ```
 * Pure: no I/O, nothing allocated. One PieceWalk per reader that may be in the middle of a read.
 */
import { PAGE_BYTES } from './entry.ts'
import type { OwnPages } from './own-pages.ts'
import { OWN, type RunMap } from './run-map.ts'

export class PieceWalk {
  /** Number of the home to read the piece from, or OWN for the file itself. */
  home = OWN
  /** Where the piece begins in the home or the file, in bytes. */
  offset = 0
  /** The piece's length in bytes. */
  length = 0
  /** Bytes of the read that lie before this piece: where it goes in the reader's buffer. */
  done = 0

  #map: RunMap | undefined
  #own: OwnPages | undefined
  #at = 0
  #end = 0
  #begin = 0

  /**
   * Begins a read of `length` bytes at `offset` of the file; clipped at the file's size. With `own`, pages that are in it are the file's
   * own, and so is all behind the map's last run: where the file ends, a short read tells.
   */
  start(map: RunMap, offset: number, length: number, own?: OwnPages): void {
    this.#map = map
    this.#own = own
    this.#begin = offset
    this.#at = offset
    this.#end = own === undefined ? Math.min(offset + length, map.sizeBytes) : offset + length
  }

  /** Moves to the next piece; false when the read is complete. */
  next(): boolean {
    const map = this.#map
    if (map === undefined || this.#at >= this.#end) return false
    const own = this.#own
    let end = this.#end
    let isOwn = false
    if (own !== undefined) {
      // However long the file has become: where the map ends may be within a page.
      isOwn = this.#at >= Math.min(map.endOfRuns, map.sizeBytes)
      if (!isOwn) {
        const page = Math.floor(this.#at / PAGE_BYTES)
        isOwn = own.has(page)
        end = Math.min(end, (page + own.runLength(page, Math.ceil(end / PAGE_BYTES) - page)) * PAGE_BYTES)
      }
    }
    if (isOwn) {
      this.home = OWN
      this.offset = this.#at
      this.length = end - this.#at
    } else {
      map.seek(this.#at)
      this.home = map.home
      this.offset = map.offset
      this.length = Math.min(map.length, end - this.#at)
    }
    this.done = this.#at - this.#begin
    this.#at += this.length
    return true
  }
}
