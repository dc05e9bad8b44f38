/**
 * Samples of where readers find pages, by which it is known who reads far from home, or from slow memory: a reader notes every so many'th hit, and sends them by the batch.
 *
 * The gaps are random, so that what reads in strides is seen as a whole.
 */

/** Hits that a sample stands for. */
export const SAMPLE_HITS = 16
/** Samples in a batch. */
export const BATCH = 64

/** Context: one reader's thread. */
export class HitSampler {
  #samples = new Int32Array(2 * BATCH)
  #count = 0
  #left = SAMPLE_HITS
  #random = 0x9e37_79b9
  readonly #send: (samples: Int32Array) => void

  /** `send` is given the pairs that {@link found} was, in an array that nobody else uses. */
  constructor(send: (samples: Int32Array) => void) {
    this.#send = send
  }

  /** A page was found: in which frame of which generation, or which page of which mapping. True: it was noted. */
  found(first: number, second: number): boolean {
    if (--this.#left > 0) return false
    // xorshift32 (G. Marsaglia, 2003): gaps from 1 to twice the mean.
    this.#random ^= this.#random << 13
    this.#random ^= this.#random >>> 17
    this.#random ^= this.#random << 5
    this.#left = 1 + ((this.#random >>> 8) % (2 * SAMPLE_HITS - 1))
    this.#samples[2 * this.#count] = first
    this.#samples[2 * this.#count + 1] = second
    if (++this.#count === BATCH) {
      this.#send(this.#samples)
      this.#samples = new Int32Array(2 * BATCH)
      this.#count = 0
    }
    return true
  }
}
