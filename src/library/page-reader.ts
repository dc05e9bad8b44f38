/**
 * The path of a hit: from a range of a file to bytes in the reader's buffer. Any thread, no system call, no lock, nothing allocated.
 *
 *     file page → own entry, or run → home's entry → frame → copy → is it still what it was?
 *                                                  → device → copy
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { FOUND, type Lookup } from '../cache/lookup.ts'
import { OWN, type RunMap } from '../cache/run-map.ts'
import type { Shortcuts } from '../cache/shared-entries.ts'
import type { Arena } from './arena.ts'
import type { DirectReader } from './direct-reader.ts'
import type { FileLayout } from './layout.ts'

// Constants of this module: see lookup.ts.
const { NOTHING, ZERO } = FOUND

/** V8 keeps the order of loads on x86 only. */
export const NEEDS_FENCE = process.arch !== 'x64'

export class PageReader {
  readonly lookup: Lookup
  readonly arena: Arena
  readonly direct: DirectReader | undefined
  readonly #shortcuts: Shortcuts | undefined
  /** Nobody reads it: without a place to be kept in the byte would not be fetched. */
  fetched = 0

  /** `shortcuts`: on the keeper's thread. `direct`: where pages can be on devices. */
  constructor(lookup: Lookup, arena: Arena, shortcuts?: Shortcuts, direct?: DirectReader) {
    this.lookup = lookup
    this.arena = arena
    this.#shortcuts = shortcuts
    this.direct = direct
  }

  /** The frame of a page of the file, or one of {@link FOUND}; {@link Lookup.generation} goes with it. */
  find(layout: FileLayout, page: number): number {
    const frame = this.lookup.find(layout.mapping, page)
    return frame >= 0 || frame === ZERO || layout.map === undefined ? frame : this.#findShared(layout, layout.map, page)
  }

  /** The same, of a page that is not the file's own, for all that is known. */
  #findShared(layout: FileLayout, map: RunMap, page: number): number {
    if (layout.own!.has(page)) return NOTHING
    map.seek(page * PAGE_BYTES)
    if (map.home === OWN) return NOTHING
    const shared = this.lookup.find(layout.mappingOfHome(map.home), map.offset / PAGE_BYTES)
    // By what the file was: of no worth to it, and a short cut of it to who knows better would be wrong.
    if (shared >= 0 && this.#shortcuts !== undefined && this.lookup.layoutOf(layout.mapping) === layout.version)
      this.#shortcuts.found(layout.mapping, map, page, shared, this.lookup.generation)
    return shared
  }

  /**
   * Copies up to `length` bytes of the file at `position` to `target` at `at`: how many, up to the first page that is not in memory. The range lies within the
   * file.
   */
  copy(layout: FileLayout, position: number, target: Uint8Array, at: number, length: number): number {
    let done = 0
    while (done < length) {
      const from = position + done
      const page = Math.floor(from / PAGE_BYTES)
      const within = from - page * PAGE_BYTES
      const count = Math.min(PAGE_BYTES - within, length - done)
      const frame = this.find(layout, page)
      if (frame >= 0) {
        const { generation } = this.lookup
        this.fetched = this.arena.byteAt(frame, within)
        copyBytes(this.arena.bytes(frame), within, target, at + done, count)
        // Given to another page meanwhile: look again.
        if (!this.lookup.isStill(frame, generation)) continue
      } else if (frame === ZERO) target.fill(0, at + done, at + done + count)
      else if (frame === NOTHING || !this.copyDirect(layout, page, within, target, at + done, count)) break
      done += count
    }
    return done
  }

  /** Copies part of a page that was found to be {@link FOUND.DIRECT}: see {@link DirectReader.copy}. */
  copyDirect(layout: FileLayout, page: number, within: number, target: Uint8Array, at: number, count: number): boolean {
    return this.direct?.copy(layout, page, within, target, at, count) === true
  }

  /** How many bytes a read of `length` at `position` can have, the file being as long as it is. */
  clip(layout: FileLayout, position: number, length: number): number {
    if (this.lookup.isWhole(layout.mapping, Math.floor((position + length - 1) / PAGE_BYTES))) return length
    return Math.max(0, Math.min(length, this.lookup.sizeOf(layout.mapping) - position))
  }
}

/** Parts of a page as short as this are copied byte by byte: cheaper than the object that stands for a part. */
const SHORT_BYTES = 64

/** A whole page is copied without a new object; a part needs one, which does not live long. */
function copyBytes(page: Uint8Array, from: number, target: Uint8Array, to: number, count: number): void {
  if (count === PAGE_BYTES) target.set(page, to)
  else if (count <= SHORT_BYTES) for (let i = 0; i < count; i++) target[to + i] = page[from + i]!
  else target.set(page.subarray(from, from + count), to)
}
