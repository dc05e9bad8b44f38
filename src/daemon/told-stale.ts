/**
 * Who was told ESTALE a moment ago. The kernel then looks up anew all names that the thread used, and asks for what it finds, once: a second ESTALE is the program's. While somebody goes on replacing
 * the file by another, what that second look-up found has lost its name, too, when it is asked for. It was what the name meant during the call, which is all that a call is owed, so the
 * thread gets it. Until then it is held by a descriptor, for a deleted file that nobody holds is gone.
 *
 * ```
 * cell of a thread: 8 words of 32 bits
 *   thread    its number + 1; 0: nobody's
 *   opens     1: it was told by an open; 0: by another call, which may be for an open, too: the kernel asks who may
 *   asked     the slot that it had asked for, or of the directory in which it has missed what it was looking for since
 *   misses    how often it has
 *   found     the slot of what it has found since, or -1
 *   foundAt   when: milliseconds, their lower half
 *   held      a descriptor of that + 1, or 0
 *   sweeps    how many the cell has seen
 * ```
 * A thread has one request under way at a time, so its cell is its own, and nobody locks. Where two have the same cell the later takes it from the other, who may be told ESTALE once more. All share
 * the number 0 who cannot be seen from here.
 */
import { close } from '../linux/file.ts'

/** Numbers of threads that are started together are near each other. */
const CELLS = 1 << 10
const CELL_WORDS = 8
const THREAD = 0
const OPENS = 1
const ASKED = 2
const MISSES = 3
const FOUND = 4
const FOUND_AT = 5
const HELD = 6
const SWEEPS = 7

/** The kernel looks first whether a name still holds, then what it is. */
const MISSES_MAX = 2

/**
 * Who was told by another call than an open, and finds something, opens it so soon. Later he does what has nothing to do with that: between his stat(2) and his open(2) the file may have been replaced,
 * and then the new one is owed.
 */
const SOON_MS = 5

/** The keeper sweeps that often. What has seen two sweeps is of a thread that did not go on: it was killed, say, or may not. */
export const TOLD_SWEEP_MS = 500

export class ToldStale {
  readonly #words: Int32Array

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(CELLS * CELL_WORDS * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
  }

  /** The thread is being told, having asked for `slot`; `opens`: to open it, or a file in it. */
  tell(thread: number, slot: number, opens: boolean): void {
    const at = cellOf(thread)
    const words = this.#words
    words[at + OPENS] = Number(opens)
    words[at + ASKED] = slot
    words[at + MISSES] = 0
    words[at + FOUND] = -1
    words[at + SWEEPS] = 0
    this.#hold(at, -1)
    Atomics.store(words, at + THREAD, thread + 1)
  }

  /** Whether the thread was told, and looks for what it shall have in place of that. */
  isLooking(thread: number): boolean {
    return this.#isOf(thread) && this.#words[cellOf(thread) + MISSES]! < MISSES_MAX
  }

  /** A thread that {@link isLooking} has found `slot` by name. `fd`, which keeps that from going, passes to its cell; -1: nothing has to. */
  found(thread: number, slot: number, fd: number): void {
    const at = cellOf(thread)
    this.#words[at + FOUND] = slot
    this.#words[at + FOUND_AT] = Date.now()
    this.#hold(at, fd)
  }

  /** Such a thread has found nothing by a name in `directory`. */
  missed(thread: number, directory: number): void {
    const at = cellOf(thread)
    this.#words[at + ASKED] = directory
    this.#words[at + MISSES]!++
    this.#words[at + FOUND] = -1
    this.#hold(at, -1)
  }

  /** Whether the thread asks once more to open what it was told ESTALE of, and has not missed it by its name: it may come by way of an open file. */
  opensAgain(thread: number, slot: number): boolean {
    const at = cellOf(thread)
    return this.#isOf(thread) && this.#words[at + OPENS] === 1 && this.#words[at + ASKED] === slot
  }

  /** Whether the thread opens what it found when it had been told ESTALE. */
  opensFound(thread: number, slot: number): boolean {
    const at = cellOf(thread)
    if (!this.#isOf(thread) || this.#words[at + FOUND] !== slot) return false
    return this.#words[at + OPENS] === 1 || (Date.now() - this.#words[at + FOUND_AT]!) >> 0 <= SOON_MS
  }

  /** Whether the thread makes a file in `directory`, in which it found none when it had been told ESTALE. */
  makesMissed(thread: number, directory: number): boolean {
    const at = cellOf(thread)
    return this.#isOf(thread) && this.#words[at + MISSES]! > 0 && this.#words[at + ASKED] === directory
  }

  /** Its call has ended otherwise. */
  end(thread: number): void {
    const at = cellOf(thread)
    if (Atomics.compareExchange(this.#words, at + THREAD, thread + 1, 0) === thread + 1) this.#hold(at, -1)
  }

  /** The keeper, every {@link TOLD_SWEEP_MS}. */
  sweep(): void {
    const words = this.#words
    for (let at = 0; at < words.length; at += CELL_WORDS)
      if (words[at + THREAD] !== 0 && Atomics.add(words, at + SWEEPS, 1) > 0) this.end(words[at + THREAD]! - 1)
  }

  #isOf(thread: number): boolean {
    return Atomics.load(this.#words, cellOf(thread) + THREAD) === thread + 1
  }

  #hold(at: number, fd: number): void {
    const held = Atomics.exchange(this.#words, at + HELD, fd + 1)
    if (held !== 0) close(held - 1)
  }
}

const cellOf = (thread: number): number => (thread & (CELLS - 1)) * CELL_WORDS
