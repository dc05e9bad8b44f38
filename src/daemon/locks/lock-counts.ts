/**
 * Which inodes may have locks, in shared memory: so that a worker that closes a file need not ask the keeper about one that nobody ever
 * locked. A cell counts the inodes with locks whose numbers fall into it; another inode's lock in the same cell costs a question.
 *
 * ```
 * word 0     the number that the next open file gets
 * word 1 …   inodes with locks, by the low bits of their number      written by the keeper, before it answers who locks
 * ```
 */
const CELLS = 4096

export class LockCounts {
  readonly #words: Int32Array

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer((1 + CELLS) * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
  }

  /** A number that tells this open file from the others of its inode, never 0, and below 2^27. */
  nextOpen(): number {
    return (Atomics.add(this.#words, 0, 1) & 0x03ff_ffff) + 1
  }

  mayHaveLocks(inoLow: number): boolean {
    return Atomics.load(this.#words, cellOf(inoLow)) > 0
  }

  add(inoLow: number, inodes: 1 | -1): void {
    Atomics.add(this.#words, cellOf(inoLow), inodes)
  }
}

const cellOf = (inoLow: number): number => 1 + (inoLow & (CELLS - 1))
