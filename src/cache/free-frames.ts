/**
 * The free frames of one node, used first in, first out, and those that were taken out of use. Before the others those that were loaded in vain (a page of zeros, or one equal to another): they
 * have had no new generation, and their memory is there already. Context: the keeper's thread.
 */
export class FreeFrames {
  /** A ring. */
  readonly #ring: Int32Array
  #head = 0
  #count = 0
  /** Free ones that were loaded in vain, not in the ring. */
  readonly #unused: number[] = []
  #offline: number[] = []

  /** `count` frames from `first` on, all of them free. */
  constructor(first: number, count: number) {
    this.#ring = Int32Array.from({ length: count }, (_, i) => first + i)
    this.#count = count
  }

  get count(): number {
    return this.#count + this.#unused.length
  }

  get offline(): readonly number[] {
    return this.#offline
  }

  add(frame: number): void {
    this.#ring[(this.#head + this.#count++) % this.#ring.length] = frame
  }

  /** Adds one that was taken, and has held no page that anybody could find. */
  addUnused(frame: number): void {
    this.#unused.push(frame)
  }

  /** The one that has been free for the longest time, or else one that is brought back into use; -1 where there is none. */
  take(): number {
    if (this.#unused.length > 0) return this.#unused.shift()!
    if (this.#count === 0) return this.#offline.pop() ?? -1
    const frame = this.#ring[this.#head]!
    this.#head = (this.#head + 1) % this.#ring.length
    this.#count--
    return frame
  }

  /** Takes a free frame out of use: -1 where none is free. */
  putOffline(): number {
    if (this.count === 0) return -1
    const frame = this.take()
    this.#offline.push(frame)
    return frame
  }

  /** For checks. */
  list(): number[] {
    const ring = Array.from({ length: this.#count }, (_, i) => this.#ring[(this.#head + i) % this.#ring.length]!)
    return [...this.#unused, ...ring]
  }
}
