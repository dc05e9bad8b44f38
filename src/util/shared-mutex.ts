/**
 * A mutual exclusion lock in one word of shared memory, after Drepper, "Futexes Are Tricky", mutex 2.
 *
 * ```
 * 0 free → 1 held (compare-exchange) → 2 held, and somebody may sleep on it → 0 (and one sleeper woken)
 * ```
 * Context: any thread that may block. Sections under a table's mutex make no system call, so waits are short. Under the lock of an inode's slot its file is looked at, opened and
 * closed: waits are as long as the file system takes to answer.
 *
 * A thread that dies in such a section leaves the lock held, and what it guards half changed. So each thread counts the locks that it holds or is about to take
 * where others can see it ({@link countLocks}): whoever finds it dead knows.
 */

let counts: Int32Array = new Int32Array(1)
let countAt = 0

/** This thread counts its locks in word `at` of `words` from now on. Called once, before it takes the first. */
export function countLocks(words: Int32Array, at: number): void {
  counts = words
  countAt = at
}

export class SharedMutex {
  readonly #words: Int32Array
  readonly #at: number

  constructor(words: Int32Array, at: number) {
    this.#words = words
    this.#at = at
  }

  /** Takes it where nobody has it, without waiting: whether it did. */
  tryLock(): boolean {
    counts[countAt]!++
    const isTaken = Atomics.compareExchange(this.#words, this.#at, 0, 1) === 0
    if (!isTaken) counts[countAt]!--
    return isTaken
  }

  lock(): void {
    counts[countAt]!++
    if (Atomics.compareExchange(this.#words, this.#at, 0, 1) === 0) return
    while (Atomics.exchange(this.#words, this.#at, 2) !== 0) Atomics.wait(this.#words, this.#at, 2)
  }

  /** Runs `call` with the lock held. Where each request comes by, lock and unlock are written out instead: a closure is allocated. */
  locked<T>(call: () => T): T {
    this.lock()
    try {
      return call()
    } finally {
      this.unlock()
    }
  }

  unlock(): void {
    if (Atomics.exchange(this.#words, this.#at, 0) === 2) Atomics.notify(this.#words, this.#at, 1)
    counts[countAt]!--
  }
}
