/** Seeded random numbers: the same seed gives the same run, on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    // Neighbouring seeds must not begin alike.
    this.#state = Math.imul(seed | 0, 0x9e37_79b1) ^ 0x5bd1_e995
    for (let i = 0; i < 4; i++) this.next()
  }

  /** A whole number in [0, 2^32): a counter mixed by murmur3's finalizer. */
  next(): number {
    this.#state = (this.#state + 0x6d2b_79f5) | 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35)
    return (mixed ^ (mixed >>> 16)) >>> 0
  }

  /** A whole number in [0, end). */
  below(end: number): number {
    return this.next() % end
  }

  /** A whole number in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32
  }

  /** One of the items; throws when there is none. */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError('nothing to pick from')
    return items[this.below(items.length)]!
  }
}
