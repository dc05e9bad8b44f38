/**
 * The homes that workers read from, in shared memory: a descriptor, a backing id, and how many served inodes use it.
 *
 * ```
 * record: 8 words    users        inodes open on it, or RETIRED; changed by any thread, atomically
 *                    generation   times the number was given to a home; 0: free
 *                    fd           read-only descriptor
 *                    backing      passthrough backing id, or 0
 *                    taken        times it was acquired: tells the keeper that it is not idle
 * ```
 * A home is retired by turning `users` from 0 to RETIRED in one step, so it can't be dropped in use, nor used when dropped. The
 * generation tells a reader who remembers a number that it means another home now.
 */
const RECORD_WORDS = 8
const USERS = 0
const GENERATION = 1
const FD = 2
const BACKING = 3
const TAKEN = 4
const RETIRED = -0x4000_0000

export class SharedHomes {
  readonly #words: Int32Array
  readonly capacity: number

  static allocate(capacity: number): SharedArrayBuffer {
    return new SharedArrayBuffer(capacity * RECORD_WORDS * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.capacity = this.#words.length / RECORD_WORDS
  }

  /** Keeper: publishes home `number`. */
  publish(number: number, generation: number, fd: number, backing: number): void {
    const at = number * RECORD_WORDS
    this.#words[at + FD] = fd
    this.#words[at + BACKING] = backing
    Atomics.store(this.#words, at + GENERATION, generation)
    // Added, not stored: somebody who asks for the home that had the number, and will be refused, is counted for a moment.
    if (Atomics.load(this.#words, at + USERS) < 0) Atomics.sub(this.#words, at + USERS, RETIRED)
  }

  /** Any thread: one more user, unless the home is gone. */
  acquire(number: number, generation: number): boolean {
    const at = number * RECORD_WORDS
    const users = Atomics.add(this.#words, at + USERS, 1)
    if (users >= 0 && Atomics.load(this.#words, at + GENERATION) === generation) {
      Atomics.add(this.#words, at + TAKEN, 1)
      return true
    }
    Atomics.sub(this.#words, at + USERS, 1)
    return false
  }

  release(number: number): void {
    Atomics.sub(this.#words, number * RECORD_WORDS + USERS, 1)
  }

  /** Which home has the number now; 0: none. */
  generation(number: number): number {
    return Atomics.load(this.#words, number * RECORD_WORDS + GENERATION)
  }

  /** How often the home was acquired, modulo 2^32. */
  taken(number: number): number {
    return Atomics.load(this.#words, number * RECORD_WORDS + TAKEN)
  }

  users(number: number): number {
    return Atomics.load(this.#words, number * RECORD_WORDS + USERS)
  }

  /** Keeper: takes a home that nobody uses out of use for good; false where somebody does. */
  retire(number: number): boolean {
    const at = number * RECORD_WORDS
    if (Atomics.compareExchange(this.#words, at + USERS, 0, RETIRED) !== 0) return false
    Atomics.store(this.#words, at + GENERATION, 0)
    return true
  }

  fd(number: number): number {
    return this.#words[number * RECORD_WORDS + FD]!
  }

  backing(number: number): number {
    return this.#words[number * RECORD_WORDS + BACKING]!
  }

  /** Throws, with the home's record, where the table does not hold together. Only while no other thread works on it. */
  checkInvariants(): void {
    for (let number = 0; number < this.capacity; number++) {
      const users = this.users(number)
      const isPublished = this.generation(number) !== 0
      const wrong = isPublished
        ? users < 0 || this.fd(number) < 0 || this.backing(number) < 0
        : users !== 0 && users !== RETIRED
      if (!wrong) continue
      const at = number * RECORD_WORDS
      throw new Error(`home table: ${number} is wrong: [${this.#words.subarray(at, at + RECORD_WORDS).join(' ')}]`)
    }
  }
}
