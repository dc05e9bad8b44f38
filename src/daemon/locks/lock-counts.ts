/**
 * Which inodes may have locks, in shared memory: so that a worker that closes a file need not ask the keeper about one that nobody ever
 * locked. A cell counts the inodes with locks whose numbers fall into it; another inode's lock in the same cell costs a question.
 * And which numbers open files have, by which the keeper knows whose locks go with one. A number is given anew after some millions of opens, but not while somebody has it: else what he has locked
 * would go when the other closes his.
 *
 * ```
 * word 0     where the search for the next open file's number begins
 * word 1 …   inodes with locks, by the low bits of their number      written by the keeper, before it answers who locks
 * then …     a bit for each number, set while an open file has it    written by who opens and closes
 * ```
 */
const CELLS = 4096
const FIRST_OPEN = 1 + CELLS
/** Numbers of open files. The bits are memory only as far as they have been used: 2 MiB at most. */
const OPENS = 2 ** 24

export class LockCounts {
  readonly #words: Int32Array

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer((FIRST_OPEN + OPENS / 32) * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
  }

  /** A number that no other open file has, never 0, and at most 2^24. (Where about so many are open one is given twice.) */
  takeOpen(): number {
    const words = this.#words
    let open = Atomics.add(words, 0, 1)
    for (let tried = 0; ; tried++) {
      const bit = 1 << (open & 31)
      const before = Atomics.or(words, wordOf(open), bit)
      if ((before & bit) === 0 || tried > OPENS / 32) break
      // Where all of a word are taken, the same bit of the next: who has very many files open is passed quickly.
      open += before === -1 ? 32 : 1
      // Those who come next need not pass him, too.
      Atomics.store(words, 0, open + 1)
    }
    return (open & (OPENS - 1)) + 1
  }

  /** The open file that {@link takeOpen} gave the number is no more. */
  giveBackOpen(number: number): void {
    const open = number - 1
    Atomics.and(this.#words, wordOf(open), ~(1 << (open & 31)))
  }

  mayHaveLocks(inoLow: number): boolean {
    return Atomics.load(this.#words, cellOf(inoLow)) > 0
  }

  add(inoLow: number, inodes: 1 | -1): void {
    Atomics.add(this.#words, cellOf(inoLow), inodes)
  }
}

const cellOf = (inoLow: number): number => 1 + (inoLow & (CELLS - 1))

const wordOf = (open: number): number => FIRST_OPEN + ((open & (OPENS - 1)) >> 5)
