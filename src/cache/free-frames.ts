/** The free frames of one node, used first in, first out, and those that were taken out of use. Context: the keeper's thread. */
export class FreeFrames {
  /** A ring. */
  readonly #ring: Int32Array
  #head = 0
  #count = 0
  /** Free ones besides, that were put back: used first. */
  readonly #putBack: number[] = []
  #offline: number[] = []

  /** `count` frames from `first` on, all of them free. */
  constructor(first: number, count: number) {
    this.#ring = Int32Array.from({ length: count }, (_, i) => first + i)
    this.#count = count
  }

  get count(): number {
    return this.#count + this.#putBack.length
  }

  get offline(): readonly number[] {
    return this.#offline
  }

  add(frame: number): void {
    this.#ring[(this.#head + this.#count++) % this.#ring.length] = frame
  }

  /** One that was taken in vain: its memory is there, and no entry has ever led to it. */
  putBack(frame: number): void {
    this.#putBack.push(frame)
  }

  /** One that was put back, or else the one that has been free for the longest time, or else one that is brought back into use; -1 where there is none. */
  take(): number {
    const again = this.#putBack.shift()
    if (again !== undefined) return again
    if (this.#count === 0) return this.#offline.pop() ?? -1
    const frame = this.#ring[this.#head]!
    this.#head = (this.#head + 1) % this.#ring.length
    this.#count--
    return frame
  }

  /**
   * Takes a free frame out of use: -1 where none is free. The one that was added last: of frames that nobody has used yet that is the one furthest from those in use, so that what is in
   * use stays together in huge pages.
   */
  putOffline(): number {
    if (this.count === 0) return -1
    const frame = this.#count > 0 ? this.#ring[(this.#head + --this.#count) % this.#ring.length]! : this.#putBack.pop()!
    this.#offline.push(frame)
    return frame
  }

  /** For checks. */
  list(): number[] {
    return [
      ...this.#putBack,
      ...Array.from({ length: this.#count }, (_, i) => this.#ring[(this.#head + i) % this.#ring.length]!),
    ]
  }
}
