/** What the watcher has seen and said: counters that only it writes, and anybody reads. */
const EVENTS = 0
const OVERFLOWS = 1
const NOTICES = 2
const VALUES = 3

export class WatchStats {
  readonly #values: Float64Array

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(VALUES * 8)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#values = new Float64Array(buffer)
  }

  addEvents(count: number): void {
    this.#values[EVENTS]! += count
  }

  addOverflow(): void {
    this.#values[OVERFLOWS]!++
  }

  addNotice(): void {
    this.#values[NOTICES]!++
  }

  /** Events by others than the daemon itself, anywhere on the source's file system. */
  get events(): number {
    return this.#values[EVENTS]!
  }

  /** Times that events were lost and everything was looked at anew. */
  get overflows(): number {
    return this.#values[OVERFLOWS]!
  }

  /** Messages to the kernel about what it knew. */
  get notices(): number {
    return this.#values[NOTICES]!
  }
}
