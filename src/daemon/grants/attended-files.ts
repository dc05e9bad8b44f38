/**
 * The files that attached caches have open, in shared memory: whoever opens one of them is served by the daemon, so that it can be granted. A hash table with open addressing, never more than half full, for every
 * open asks it.
 *
 * ```
 * header  4 words   @0 used     files; 0: there are none
 *                   @1 moves    odd while files change their places
 *                   @2 secret   so that nobody can choose files that all belong in one place
 * file    4 words   @0 state    FREE → TAKEN → FREE        written by the grants' thread, all of it
 *                   @1 fs  @2 inoLow  @3 inoHigh   the inode
 * ```
 * Files are found at the place that their hash says, or at one of those that follow it without a gap. One that is taken out leaves no gap: those behind move up. Who looks meanwhile may miss one that moves; he sees that by `moves`,
 * which all loads lie between, in one order with all stores, and looks again. Should he see it every time he is told that the file is there: then it is served by the daemon for once, which is right, if slower.
 * That one who has just been added is seen is as with the records of ranges (granted-ranges.ts).
 */
import { randomBytes } from 'node:crypto'

const FREE = 0
const TAKEN = 1

/** As many as four users may attend ({@link AttachedCaches}), and root and others together no more. Each is also a descriptor of the daemon. */
const FILES_MAX = 262_144
const PLACES = FILES_MAX * 2
const HEADER_WORDS = 4
const FILE_WORDS = 4
const USED = 0
const MOVES = 1
const SECRET = 2
const STATE = 0
const FS = 1
const INO_LOW = 2
const INO_HIGH = 3
/** More often nobody looks: the thread may have been stopped while it moves files. */
const TRIES = 8

export class AttendedFiles {
  static readonly WORDS = HEADER_WORDS + PLACES * FILE_WORDS
  readonly #words: Int32Array

  /** `words`: {@link WORDS} of them, {@link begin begun} once. */
  constructor(words: Int32Array) {
    this.#words = words
  }

  static begin(words: Int32Array): void {
    words[SECRET] = randomBytes(4).readInt32LE()
  }

  /** Whether a file is there; true now and then also for one that is not. */
  has(fs: number, inoLow: number, inoHigh: number): boolean {
    const words = this.#words
    if (words[USED] === 0) return false
    for (let i = 0; i < TRIES; i++) {
      const moves = Atomics.load(words, MOVES)
      if (this.#find(fs, inoLow, inoHigh) >= 0) return true
      if ((moves & 1) === 0 && Atomics.load(words, MOVES) === moves) return false
    }
    return true
  }

  // The grants' thread.

  /** False: there is no room. Of a file that is not there. */
  add(fs: number, inoLow: number, inoHigh: number): boolean {
    const words = this.#words
    const used = words[USED]!
    if (used >= FILES_MAX) return false
    let place = this.#placeOf(fs, inoLow, inoHigh)
    while (words[at(place) + STATE] !== FREE) place = next(place)
    this.#put(place, fs, inoLow, inoHigh)
    Atomics.store(words, at(place) + STATE, TAKEN)
    Atomics.store(words, USED, used + 1)
    return true
  }

  remove(fs: number, inoLow: number, inoHigh: number): void {
    const words = this.#words
    let gap = this.#find(fs, inoLow, inoHigh)
    if (gap < 0) return
    Atomics.add(words, MOVES, 1)
    for (let place = next(gap); words[at(place) + STATE] !== FREE; place = next(place)) {
      const file = at(place)
      const [fs, inoLow, inoHigh] = [words[file + FS]!, words[file + INO_LOW]!, words[file + INO_HIGH]!]
      // One that belongs behind the gap is found without it.
      if (distance(this.#placeOf(fs, inoLow, inoHigh), place) < distance(gap, place)) continue
      this.#put(gap, fs, inoLow, inoHigh)
      gap = place
    }
    Atomics.store(words, at(gap) + STATE, FREE)
    Atomics.add(words, MOVES, 1)
    Atomics.store(words, USED, words[USED]! - 1)
  }

  /** Where the file is, or -1. All loads are atomic, so that none comes after one of `moves` that follows. */
  #find(fs: number, inoLow: number, inoHigh: number): number {
    const words = this.#words
    let place = this.#placeOf(fs, inoLow, inoHigh)
    // Who looks while files move could meet no gap at all.
    for (let i = 0; i < PLACES; i++, place = next(place)) {
      const file = at(place)
      if (Atomics.load(words, file + STATE) === FREE) return -1
      if (
        Atomics.load(words, file + INO_LOW) === inoLow &&
        Atomics.load(words, file + INO_HIGH) === inoHigh &&
        Atomics.load(words, file + FS) === fs
      )
        return place
    }
    return -1
  }

  #put(place: number, fs: number, inoLow: number, inoHigh: number): void {
    Atomics.store(this.#words, at(place) + FS, fs)
    Atomics.store(this.#words, at(place) + INO_LOW, inoLow)
    Atomics.store(this.#words, at(place) + INO_HIGH, inoHigh)
  }

  #placeOf(fs: number, inoLow: number, inoHigh: number): number {
    return mixed(mixed(mixed(this.#words[SECRET]! ^ fs) ^ inoHigh) ^ inoLow) & (PLACES - 1)
  }
}

const at = (place: number): number => HEADER_WORDS + place * FILE_WORDS
const next = (place: number): number => (place + 1) & (PLACES - 1)
/** Places from one to the other, onwards. */
const distance = (from: number, to: number): number => (to - from) & (PLACES - 1)

/** MurmurHash3's last step: each bit of the result depends on all of `h`. */
function mixed(h: number): number {
  const a = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b)
  const b = Math.imul(a ^ (a >>> 13), 0xc2b2_ae35)
  return b ^ (b >>> 16)
}
