/**
 * `direct` entries: pages that are read where they lie, in the memory of a device, and those of them that have been *promoted* to frames.
 *
 * ```
 *   home's index                                  frames                      device (DAX)
 *   page 7: direct, 90210 ──────────────────────────────────────────────────▶ page 90210
 *   page 8: page, frame 12 ─────────────────────▶ 12  owner: home, page 8     page 90211: is the same, and stays
 * ```
 * Pages of devices never change (what does is not mapped, see library/direct-memory.ts), so **promoting** is a copy, and **demoting** puts back the entry that was there: nothing is
 * read or written for it. A promoted page is an ordinary one to readers. To the keeper it is spare: it goes before any page that would have to be read from a disk again, but for
 * the budget that direct-policy.ts sets.
 *
 * A promoted page has *paid* when it was read as often as its copy has cost.
 *
 * Invariants (restated by {@link DirectPages.checkInvariants}): each frame that is spare here holds a page whose entry names it; the entries counted are those that there are.
 */
import { directHigh, ENTRY_VALUES, entryKind, entryValue, makeEntry } from '../layout/entry-word.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import { EntryKind } from './entry.ts'
import { FRAME_STATE, type Frames, NO_FRAME } from './frames.ts'
import type { PageKeeper } from './page-keeper.ts'
import { SpareFrames } from './spare-frames.ts'
import type { XArray } from './xarray.ts'

/**
 * Reads after which a promoted page has paid. Reading a page costs the device two or three times what it costs main memory; a copy reads it there once, writes it, and makes an
 * entry. Ages count no further.
 */
const PAID_READS = 3

interface DirectCounts {
  /** Direct entries now. */
  entries: number
  /** Promoted pages now. */
  promoted: number
  promotions: number
  /** Given up for the room that they took. */
  demotions: number
}

/** Context: the keeper's thread. */
export class DirectPages {
  readonly counts: DirectCounts = { entries: 0, promoted: 0, promotions: 0, demotions: 0 }
  /** The promoted ones. */
  readonly spare: SpareFrames
  /** Tells of a page that was demoted before it had paid. */
  onLoss: (mapping: number, page: number) => void = () => {}
  readonly #keeper: PageKeeper
  readonly #frames: Frames
  readonly #index: XArray
  readonly #copy: (mapping: number, page: number, frame: number) => void
  readonly #set: (mapping: number, page: number, kind: EntryKind, value: number, generation: number) => boolean
  /** By frame: the entry that its page had, in two words. */
  readonly #entries: Int32Array
  /** By frame: reads that a look has found. */
  readonly #reads: Uint8Array

  /** `copy` copies a page of a device to a frame; `set` writes an entry, false where there is no room in the index. */
  constructor(
    keeper: PageKeeper,
    index: XArray,
    copy: (mapping: number, page: number, frame: number) => void,
    set: (mapping: number, page: number, kind: EntryKind, value: number, generation: number) => boolean,
  ) {
    const { frames } = keeper
    this.spare = new SpareFrames(frames, (frame, age) => this.#seen(frame, age))
    this.#keeper = keeper
    this.#frames = frames
    this.#index = index
    this.#copy = copy
    this.#set = set
    this.#entries = new Int32Array(2 * frames.capacity)
    this.#reads = new Uint8Array(frames.capacity)
  }

  /** Readers find `page`, of which nothing is known yet, on its device, where it has that number. False where something is known, or there is no room in the index. */
  publish(mapping: number, page: number, number: number): boolean {
    if (!this.#isUnknown(mapping, page)) return false
    if (!this.#set(mapping, page, EntryKind.DIRECT, number % ENTRY_VALUES, directHigh(number))) return false
    this.counts.entries++
    return true
  }

  /** As {@link publish}, of a page of which the device has nothing: it is zeros. */
  publishHole(mapping: number, page: number): boolean {
    return this.#isUnknown(mapping, page) && this.#set(mapping, page, EntryKind.ZERO, 0, 0)
  }

  /** Whether the page is read on its device. */
  has(mapping: number, page: number): boolean {
    return page < PAGES_MAX && entryKind(this.#index.get(mapping, page)) === EntryKind.DIRECT
  }

  /** Copies the page to a frame, on `near` if it can be, where readers find it from now on. {@link NO_FRAME} where none is free, or the page is not direct. */
  promote(mapping: number, page: number, near: number): number {
    const frames = this.#frames
    if (!this.has(mapping, page)) return NO_FRAME
    const frame = frames.take(mapping, page, frames.nodes.nearest(near))
    if (frame === NO_FRAME) return NO_FRAME
    this.#copy(mapping, page, frame)
    this.#entries[2 * frame] = this.#index.get(mapping, page)
    this.#entries[2 * frame + 1] = this.#index.generation(mapping, page)
    this.#reads[frame] = 0
    // There is an entry already, so there is room for it.
    this.#index.set(mapping, page, makeEntry(EntryKind.PAGE, frame), frames.keep(frame))
    this.spare.add(frame)
    this.counts.entries--
    this.counts.promoted++
    this.counts.promotions++
    return frame
  }

  /** Demotes a promoted page that nobody has read since the last look; false where there is none. */
  demoteCold(): boolean {
    const { pinned } = this.#keeper
    pinned.look()
    return this.#demote(this.spare.cold((frame) => !pinned.has(frame)))
  }

  /** Demotes a promoted page beyond the budget; false where there is none that may go. */
  demoteSurplus(mayGo: (frame: number) => boolean): boolean {
    return this.#demote(this.spare.surplus(mayGo))
  }

  /** Its page is read on its device again. */
  #demote(frame: number): boolean {
    if (frame === NO_FRAME) return false
    const frames = this.#frames
    const [mapping, page] = [frames.mapping(frame), frames.page(frame)]
    if (!this.hasPaid(frame)) this.onLoss(mapping, page)
    this.#keeper.replicas?.collapse(frame)
    this.#index.set(mapping, page, this.#entries[2 * frame]!, this.#entries[2 * frame + 1]!)
    this.giveUp(frame)
    this.counts.entries++
    this.counts.demotions++
    return true
  }

  /** The promoted page in `frame` is found no more: the caller empties its entry. */
  giveUp(frame: number): void {
    this.spare.delete(frame)
    this.#frames.giveUp(frame)
    this.counts.promoted--
  }

  hasPaid(frame: number): boolean {
    return this.#reads[frame]! + this.#frames.age(frame) >= PAID_READS
  }

  /** `entries`: how many direct ones there are. */
  checkInvariants(entries: number): void {
    const frames = this.#frames
    for (const frame of this.spare) {
      const [mapping, page] = [frames.mapping(frame), frames.page(frame)]
      const word = this.#index.get(mapping, page)
      const isSound =
        frames.state(frame) === FRAME_STATE.RESIDENT &&
        (entryKind(word) === EntryKind.PAGE || entryKind(word) === EntryKind.REPLICATED) &&
        entryValue(word) === frame &&
        this.#index.generation(mapping, page) === frames.generation(frame) &&
        entryKind(this.#entries[2 * frame]!) === EntryKind.DIRECT
      if (!isSound) throw new Error(`frame ${frame} holds no promoted page`)
    }
    if (this.spare.count !== this.counts.promoted || entries !== this.counts.entries)
      throw new Error(
        `${this.spare.count} pages are promoted and ${entries} direct, counted are ${this.counts.promoted} and ${this.counts.entries}`,
      )
  }

  #isUnknown(mapping: number, page: number): boolean {
    if (page >= PAGES_MAX || this.#keeper.isLoading(mapping, page)) return false
    const kind = entryKind(this.#index.get(mapping, page))
    return kind === EntryKind.OWN || kind === EntryKind.SHADOW
  }

  #seen(frame: number, age: number): void {
    this.#reads[frame] = Math.min(PAID_READS, this.#reads[frame]! + age)
  }
}
