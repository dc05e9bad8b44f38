/**
 * Which frame goes when the cache needs one: what a reclaim policy is given, and what it must answer.
 *
 * - **frame**: the number of a place for one page, [0, capacity).
 * - **age**: how often a frame was hit since somebody cleared that, up to AGE_MAX. Readers only ever count it up, with a plain
 *   store and without telling anybody: so a policy learns of hits when it looks for a victim, and not before.
 * - **shadow**: what the index keeps of a page that was evicted: a **stamp** of {@link STAMP_BITS} bits, of the policy's choosing. When that page is
 *   asked for again (a **refault**) the policy gets the stamp back.
 *
 * Context: one thread, the keeper, calls all of this. Nothing here does I/O, waits, or allocates after the construction.
 */

export { AGE_MAX } from '../../layout/frame-record.ts'

export const STAMP_BITS = 24

/** An entry has room for so many bits more: the NUMA node that a page was on, see node-clocks.ts. */
export const STAMP_NODE_BITS = 4

/** In place of a stamp: nothing is known of the page. */
export const NEVER = -1

/** The ages in the table of frames. A reader may count one up between any two calls. */
export interface Ages {
  get(frame: number): number
  set(frame: number, age: number): void
}

export interface ReclaimPolicy {
  /** How many frames hold a page that the policy knows. */
  readonly size: number

  /** A page that somebody asked for was loaded into `frame`; `stamp` is that of its shadow, or NEVER. Clears the age. */
  insert(frame: number, stamp: number): void

  /** Readahead loaded a page into `frame`: nobody has asked for it yet. Clears the age. */
  insertCold(frame: number): void

  /** `frame` was freed without having been chosen: its page was cut off, or written elsewhere. */
  remove(frame: number): void

  /**
   * The frame to evict now; it is no longer the policy's. -1: `mayEvict` lets none go. A frame that may not go, being in use, counts
   * as used. Takes a bounded time, but for frames that may not go: those it may have to pass over one by one. `near`: the NUMA node on which
   * a frame is wanted; with `isOnly` one on another node is of no use.
   */
  victim(mayEvict: (frame: number) => boolean, near?: number, isOnly?: boolean): number

  /** `on` says from now on how many frames of a NUMA node hold what is not the policy's: replicas. */
  countSpare?(on: (node: number) => number): void

  /** The stamp for the shadow of the page in `frame`, which {@link victim} has just returned. */
  stampOf(frame: number): number

  /** Whether a shadow with this stamp still tells anything; if not it can be pruned. */
  isWorthKeeping(stamp: number): boolean

  /**
   * The cache is to have `frames` frames, at most its capacity: only what is aimed at changes. To shrink, the keeper asks for victims
   * and loads nothing into their frames.
   */
  resize(frames: number): void

  /** Throws, with a dump, when the policy's own rules are broken. For tests: walks everything. */
  checkInvariants(): void
}
