/**
 * What the indexes remember of pages that were evicted: a *shadow* takes the place of a page's entry, with the stamp that the reclaim policy gave it. Asked for again, the
 * page is a *refault*, and the policy gets the stamp back. (Shadow entries are Linux's, mm/workingset.c.)
 *
 * Shadows take room that pages could have, so they are swept: by as many evictions as a sweep has left, and all of them where indexes have become too large.
 *
 * Context: the keeper's thread.
 */
import { entryKind, entryValue, makeEntry } from '../layout/entry-word.ts'
import { EntryKind } from './entry.ts'
import type { Frames } from './frames.ts'
import { NEVER, type ReclaimPolicy } from './reclaim/policy.ts'
import type { XArray } from './xarray.ts'

/** Beyond this share of the memory indexes hold no shadows. */
const INDEX_SHARE_MAX = 1 / 8
/** Below this share of the frames they are not what makes indexes large. */
const FEW = 1 / 8

export class Shadows {
  readonly #frames: Frames
  readonly #index: XArray
  readonly #policy: ReclaimPolicy
  #count = 0
  #sweepAt: number

  constructor(frames: Frames, index: XArray, policy: ReclaimPolicy) {
    this.#frames = frames
    this.#index = index
    this.#policy = policy
    this.#sweepAt = frames.capacity
  }

  get count(): number {
    return this.#count
  }

  /** In the place of the entry of the page in `frame`, which the policy has chosen, so there is room for it. */
  leave(frame: number): void {
    const frames = this.#frames
    const shadow = makeEntry(EntryKind.SHADOW, this.#policy.stampOf(frame))
    // The generation says which of the pages in this frame it is of.
    this.#index.set(frames.mapping(frame), frames.page(frame), shadow, frames.generation(frame))
    this.#count++
  }

  /** The entry `word` was erased, or another took its place. */
  gone(word: number): void {
    if (entryKind(word) === EntryKind.SHADOW) this.#count--
  }

  /**
   * The stamp of a page that is not cached: its shadow's, or that of the merged page of `contentMapping` in which it was found; NEVER where nothing is
   * known of it. `contentMapping` is -1 while nobody merges.
   */
  stampAt(mapping: number, page: number, contentMapping: number): number {
    const index = this.#index
    const word = index.get(mapping, page)
    if (entryKind(word) === EntryKind.SHADOW) return entryValue(word)
    if (entryKind(word) !== EntryKind.SHARED || contentMapping < 0) return NEVER
    const frame = entryValue(word)
    const shadow = index.get(contentMapping, frame)
    const isOfIt = index.generation(contentMapping, frame) === index.generation(mapping, page)
    return entryKind(shadow) === EntryKind.SHADOW && isOfIt ? entryValue(shadow) : NEVER
  }

  /** Which entries a sweep that is due is to leave; undefined where none is. `indexShare`: the part of the memory that indexes have. */
  dueSweep(indexShare: number): ((word: number) => boolean) | undefined {
    if (indexShare > INDEX_SHARE_MAX && this.#count > this.#frames.capacity * FEW)
      return (word) => entryKind(word) !== EntryKind.SHADOW
    if (this.#count <= this.#sweepAt) return undefined
    return (word) => entryKind(word) !== EntryKind.SHADOW || this.#policy.isWorthKeeping(entryValue(word))
  }

  /** All entries have been looked at. */
  swept(): void {
    // Each sweep is paid for by as many evictions as it leaves shadows.
    this.#sweepAt = Math.max(this.#frames.capacity, 2 * this.#count)
  }
}
