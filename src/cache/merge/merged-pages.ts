/**
 * Pages with equal bytes, merged: one of them stays, and belongs to the *content mapping*, which is part of no file; `shared` entries lead to it from wherever it is a
 * page of.
 *
 * ```
 *   a page is loaded,   ──▶ hash ──▶ candidates of its domain in the content index ──▶ compare every byte
 *   or the scan comes by                       │ none                                        │ equal
 *                                              ▼                                             ▼
 *                               the page is a file's or home's own,      the candidate is handed over to the content mapping, if it is not
 *                               and in the content index                 there yet; the page gets a shared entry, and its frame is free
 * ```
 * As in KSM, but simpler: what is cached does not change (a write drops it first), so there is one index, and what was looked at once need not be looked at again.
 *
 * **What ends it.** A page that is written or dropped loses its own entry, and nobody else's. A content page goes with its last sharer; or when it is evicted, and then all
 * entries that lead to it are worth nothing at once, for its frame has another generation. Each sharer that is wanted again is loaded anew; those that still are equal find
 * each other as they did before. The content mapping's page n is what frame n holds, so the shadow of an evicted page lies where the worthless entries lead: with
 * the same generation, it is theirs.
 *
 * **What is left alone**: pages that were written not long ago, see recent-writes.ts; the scan looks again when that is past.
 *
 * Invariants (restated by {@link MergedPages.checkInvariants}):
 * - a frame in the content index holds a page; each content page is in it;
 * - `sharers` of a frame counts the shared entries that lead to it, and is 0 where it is no content page;
 * - all of them are of one domain.
 *
 * Pure: the bytes are compared by whom they belong to. Context: the keeper's thread.
 */
import { entryKind, entryValue } from '../../layout/entry-word.ts'
import { EntryKind } from '../entry.ts'
import { FRAME_STATE, NO_FRAME } from '../frames.ts'
import type { PageKeeper } from '../page-keeper.ts'
import { ContentIndex } from './content-index.ts'
import type { ContentOwner } from './content-owner.ts'
import { RecentWrites } from './recent-writes.ts'

/** What is in frames. */
export interface PageBytes {
  /** 32 bits, the same for the same bytes. */
  hash(frame: number): number
  /** Whether all bytes of the two are equal. */
  isEqual(a: number, b: number): boolean
}

/** As KSM has them, in pages. */
interface MergeCounts {
  /** Content pages. */
  readonly shared: number
  /** Pages that have been merged into one of those: so many frames are saved. */
  readonly sharing: number
  /** Pages that were looked at, and have no mate. */
  readonly unshared: number
  /** Pages that were left alone in the last pass of the scan, because they had been written not long before. */
  readonly volatile: number
  /** Pages that were looked at so far: each once as long as it stays. */
  readonly scanned: number
  /** Passes of the scan that have come to their end. */
  readonly fullScans: number
}

export class MergedPages implements ContentOwner {
  readonly #keeper: PageKeeper
  readonly #bytes: PageBytes
  readonly #index: ContentIndex
  readonly #writes: RecentWrites
  /** By frame: shared entries that lead to it. */
  readonly #sharers: Uint32Array
  #shared = 0
  #entries = 0
  #scanned = 0
  #volatile = 0
  /** In the pass that is under way. */
  #volatileNow = 0
  #fullScans = 0
  /** The frame at which the scan goes on. */
  #cursor = 0

  /** `secret`: see {@link ContentIndex}. One for each keeper. Throws where no mapping is left. */
  constructor(keeper: PageKeeper, bytes: PageBytes, secret: number) {
    const { capacity } = keeper.frames
    this.#keeper = keeper
    this.#bytes = bytes
    this.#index = new ContentIndex(capacity, secret)
    this.#writes = new RecentWrites(capacity)
    this.#sharers = new Uint32Array(capacity)
    keeper.beginMerging(this, this.indexBytes)
  }

  /** What merging needs to know about frames takes, in bytes: always the same. */
  get indexBytes(): number {
    return this.#index.bytes + this.#writes.bytes + this.#sharers.byteLength
  }

  get counts(): MergeCounts {
    return {
      shared: this.#shared,
      sharing: this.#entries - this.#shared,
      unshared: this.#index.size - this.#shared,
      volatile: this.#volatile,
      scanned: this.#scanned,
      fullScans: this.#fullScans,
    }
  }

  /** Whether pages are cached that nobody has looked at. */
  get isBehind(): boolean {
    return this.#index.size < this.#keeper.counts.resident
  }

  /** As {@link PageKeeper.publish}, of a page that may have a mate. */
  publish(frame: number, isWanted: boolean): boolean {
    const { frames } = this.#keeper
    if (this.#isVolatile(frame)) return this.#keeper.publish(frame, isWanted)
    const domain = this.#domainOf(frame)
    const hash = this.#hash(frame)
    const mate = this.#mateOf(frame, hash, domain)
    if (mate === NO_FRAME) {
      const isPublished = this.#keeper.publish(frame, isWanted)
      if (isPublished) this.#index.add(frame, hash, domain)
      return isPublished
    }
    // Where there is no room to merge it the scan tries again.
    if (!this.#share(mate)) return this.#keeper.publish(frame, isWanted)
    const generation = frames.generation(mate)
    const isPublished = this.#keeper.publishShared(frame, mate)
    if (!isPublished && frames.generation(mate) === generation) this.unshared(mate)
    return isPublished
  }

  /** Merges the page that is cached in `frame`, if it can be, and has not been looked at. */
  merge(frame: number): void {
    if (!this.#keeper.holdsPage(frame) || this.#index.has(frame)) return
    const domain = this.#domainOf(frame)
    const hash = this.#hash(frame)
    const mate = this.#mateOf(frame, hash, domain)
    if (mate === NO_FRAME) this.#index.add(frame, hash, domain)
    else if (this.#share(mate)) this.#keeper.replaceByShared(frame, mate)
  }

  /** As {@link merge}, of the page that is cached as `page` of `mapping`, if it is. */
  mergePage(mapping: number, page: number): void {
    const frame = this.#keeper.frameOf(mapping, page)
    if (frame !== NO_FRAME) this.merge(frame)
  }

  /** The scan goes on over the next `count` frames. True where that ended a pass. */
  scan(count: number): boolean {
    const end = Math.min(this.#cursor + count, this.#sharers.length)
    for (let frame = this.#cursor; frame < end; frame++) {
      if (!this.#keeper.holdsPage(frame) || this.#index.has(frame)) continue
      if (this.#isVolatile(frame)) this.#volatileNow++
      else this.merge(frame)
    }
    this.#cursor = end
    if (end < this.#sharers.length) return false
    this.#cursor = 0
    this.#fullScans++
    this.#volatile = this.#volatileNow
    this.#volatileNow = 0
    this.#writes.nextPass()
    return true
  }

  /** Somebody writes to pages [from, to) of `mapping`. */
  wrote(mapping: number, from: number, to: number): void {
    for (let page = from; page < to; page++) this.#writes.add(mapping, page)
  }

  // ---- what the keeper tells

  /** An entry that led to `frame`, a content page, is no more. */
  unshared(frame: number): void {
    this.#entries--
    if (--this.#sharers[frame]! > 0) return
    this.#shared--
    this.#keeper.dropShared(frame)
  }

  /** `frame` holds its page no longer: nothing leads to it. */
  gaveUp(frame: number): void {
    this.#index.remove(frame)
    if (this.#sharers[frame] === 0) return
    this.#entries -= this.#sharers[frame]!
    this.#sharers[frame] = 0
    this.#shared--
  }

  checkInvariants(): void {
    const { frames } = this.#keeper
    this.#index.checkInvariants()
    const found = new Map<number, number>()
    let entries = 0
    this.#keeper.each((mapping, _page, word, generation) => {
      const frame = entryValue(word)
      if (entryKind(word) !== EntryKind.SHARED || frames.generation(frame) !== generation) return
      if (!this.#keeper.isMerged(frame)) return
      found.set(frame, (found.get(frame) ?? 0) + 1)
      entries++
      if (this.#keeper.mappings.domainOf(mapping) !== this.#index.domainOf(frame))
        throw new Error(`frame ${frame} is shared across domains`)
    })
    for (let frame = 0; frame < this.#sharers.length; frame++) {
      if (this.#sharers[frame] !== (found.get(frame) ?? 0))
        throw new Error(`${found.get(frame)} entries lead to frame ${frame}, ${this.#sharers[frame]} are counted`)
      if (this.#index.has(frame) && frames.state(frame) !== FRAME_STATE.RESIDENT)
        throw new Error(`frame ${frame} is in the content index and holds nothing`)
      if (found.has(frame) && !this.#index.has(frame))
        throw new Error(`the content page in frame ${frame} cannot be found by its content`)
    }
    if (entries !== this.#entries || found.size !== this.#shared)
      throw new Error(
        `${entries} entries lead to ${found.size} pages, counted are ${this.#entries} and ${this.#shared}`,
      )
  }

  #domainOf(frame: number): number {
    return this.#keeper.mappings.domainOf(this.#keeper.frames.mapping(frame))
  }

  #hash(frame: number): number {
    this.#scanned++
    return this.#bytes.hash(frame)
  }

  #mateOf(frame: number, hash: number, domain: number): number {
    return this.#index.find(hash, domain, (candidate) => this.#bytes.isEqual(candidate, frame))
  }

  /** One shared entry more leads to `mate`, which becomes a content page if it is none. False where there is no room for that. */
  #share(mate: number): boolean {
    if (this.#sharers[mate] === 0) {
      if (!this.#keeper.handOver(mate)) return false
      // That of its owner until now.
      this.#sharers[mate] = 1
      this.#entries++
      this.#shared++
    }
    this.#sharers[mate]!++
    this.#entries++
    return true
  }

  #isVolatile(frame: number): boolean {
    const { frames } = this.#keeper
    return this.#writes.has(frames.mapping(frame), frames.page(frame))
  }
}
