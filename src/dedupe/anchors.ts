/**
 * Where to look for the content of a page: a table from hash to the places of *anchors*.
 *
 * Anchors are the pages of files at multiples of `stride`. Whoever asks for every page, and not only for those, finds every equal run of `stride` pages at whatever
 * offsets: one of the run's pages is an anchor. So the table has one place for each `stride` pages only. (The idea is that of rsync, A. Tridgell 1996, with pages in place
 * of bytes.)
 */
import type { FileUses } from './file-uses.ts'
import { Position } from './file-uses.ts'
import type { StoredPages } from './stored-pages.ts'

const CAPACITY_MIN = 1024
const LOAD_MAX = 0.6
/** Places with one content that are remembered: of a content that is everywhere some must do. */
const PLACES_MAX = 8

export class Anchors {
  readonly #uses: FileUses
  readonly #pages: StoredPages
  /** Open addressing: use + 1 and stored page. A first word of 0 marks an empty slot. */
  #slots = new Uint32Array(2 * CAPACITY_MIN)
  #taken = 0

  constructor(uses: FileUses, pages: StoredPages) {
    this.#uses = uses
    this.#pages = pages
  }

  /** Adds the page at `position`, unless its domain has the very same stored page, or enough places of its content. */
  add({ use, stored }: Position): void {
    const slots = this.#slots
    let places = 0
    let slot = this.#slotOf(stored, slots)
    for (; slots[slot] !== 0; slot = nextSlot(slot, slots)) {
      const page = slots[slot + 1]!
      if (!this.#pages.hasEqualHash(page, stored) || !this.#areOfOneDomain(slots[slot]! - 1, use)) continue
      if (page === stored || ++places === PLACES_MAX) return
    }
    slots[slot] = use + 1
    slots[slot + 1] = stored
    if (++this.#taken * 2 > slots.length * LOAD_MAX) this.#grow()
  }

  /** Calls `visit` for the places that have the content of the page at `position` and are of its domain. */
  find({ use, stored }: Position, visit: (place: Position) => void): void {
    const slots = this.#slots
    for (let slot = this.#slotOf(stored, slots); slots[slot] !== 0; slot = nextSlot(slot, slots)) {
      const page = slots[slot + 1]!
      const other = slots[slot]! - 1
      if (!this.#pages.hasEqualHash(page, stored) || !this.#areOfOneDomain(other, use)) continue
      visit(new Position(this.#uses, other, page - this.#uses.stored[other]!))
    }
  }

  #areOfOneDomain(a: number, b: number): boolean {
    const { file, domain } = this.#uses
    return domain[file[a]!] === domain[file[b]!]
  }

  /** Where to begin: the index of a slot's first word. The number of slots is a power of two. */
  #slotOf(page: number, slots: Uint32Array): number {
    return (this.#pages.low(page) & (slots.length / 2 - 1)) * 2
  }

  #grow(): void {
    const old = this.#slots
    const larger = new Uint32Array(old.length * 2)
    for (let at = 0; at < old.length; at += 2) {
      if (old[at] === 0) continue
      let slot = this.#slotOf(old[at + 1]!, larger)
      while (larger[slot] !== 0) slot = nextSlot(slot, larger)
      larger[slot] = old[at]!
      larger[slot + 1] = old[at + 1]!
    }
    this.#slots = larger
  }
}

function nextSlot(slot: number, slots: Uint32Array): number {
  return (slot + 2) & (slots.length - 1)
}
