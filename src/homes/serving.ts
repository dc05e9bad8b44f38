/** How one file is to be served: the answer of {@link Families.serve}. */
import type { RunMap } from '../cache/run-map.ts'
import type { Home } from './home.ts'
import type { Stamp } from './home-storage.ts'

/** Why a file is served by itself; the keys of the statistics. */
export const PrivateReason = {
  /** Smaller than a home is worth. */
  SMALL: 'small',
  /** Fewer shared bytes than a home is worth. */
  LITTLE_SHARED: 'little shared',
  /** It shares enough, but compressed: an address then says nothing about the bytes of a page. */
  COMPRESSED: 'compressed',
  /** The first file seen with its addresses: a home is made when a second one comes. */
  FIRST_SHARER: 'first sharer',
  /** Open for writing, or mapped so, by somebody. */
  BEING_WRITTEN: 'being written',
  /** Changed so recently that a later change might get the same ctime, or be under way. */
  JUST_CHANGED: 'just changed',
  /** It kept changing, or its blocks kept moving, while equality was being proved. */
  UNSETTLED: 'unsettled',
  /** More extents than are worth reading. */
  MANY_EXTENTS: 'many extents',
  /** The file system does not tell extents that could be trusted. */
  NO_EXTENTS: 'no extents',
  /** The file system cannot clone this file (nodatacow, a read-only source). */
  NO_CLONE: 'no clone',
  /** The disk, a quota or a limit of the system is full. */
  NO_SPACE: 'no space',
  /** As many homes as allowed, all in use. */
  MANY_HOMES: 'many homes',
  /** An I/O error. */
  FAILED: 'failed',
} as const
export type PrivateReason = (typeof PrivateReason)[keyof typeof PrivateReason]

interface Decision {
  /** The state of the file for which the decision was made. */
  readonly stamp: Stamp
  /**
   * May the decision be used again for a later open that finds the file with an equal {@link stamp} (ctime and size)?
   * Only until {@link recheckAtMs}, until `onForget(key)`, and as long as all of its homes can be taken.
   */
  readonly remember: boolean
  /** On the clock given to Families; Infinity: no need. What is private today may have clones tomorrow, and its ctime does not tell. */
  readonly recheckAtMs: number
}

/** Served by itself, whatever it is opened for. Always correct. */
interface PrivateServing extends Decision {
  readonly kind: 'private'
  readonly reason: PrivateReason
}

/** Byte by byte equal to `home`, sizes too. */
export interface PristineServing<HomeFile> extends Decision {
  readonly kind: 'pristine'
  readonly home: Home<HomeFile>
}

/** Equal to homes in the runs of `map`; the rest is the file's own. */
export interface DivergedServing<HomeFile> extends Decision {
  readonly kind: 'diverged'
  readonly map: RunMap
  /** The homes that occur in `map`, each once. */
  readonly homes: readonly Home<HomeFile>[]
}

/**
 * A serving names homes but does not hold them. Before use take every home by number and generation (see HomeUsers); when
 * one has been retired meanwhile, give back the others and ask again. What was proved stays true however long that takes:
 * the runs held the file's bytes at one instant during the call, and hold what the file has as long as its stamp is equal.
 */
export type Serving<HomeFile> = PrivateServing | PristineServing<HomeFile> | DivergedServing<HomeFile>
