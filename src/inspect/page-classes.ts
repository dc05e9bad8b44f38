/**
 * Counts pages of equal content, by 64-bit hash: twelve bytes for each different content.
 *
 * With a sample, whole contents are remembered or not, by their hash: hash < share * 2^64. Any page of a remembered content
 * is counted, so its multiplicity k is exact, and since a good hash chooses contents independently and with equal
 * probability p, Σ (k - 1) / p over those remembered is an unbiased estimate of Σ (k - 1) over all (Horvitz and Thompson,
 * 1952), with variance (1 - p) / p² Σ (k - 1)². It costs p times the memory, not p times the reading: no method that reads
 * only a part can promise an interval, for the pages that it did not read may all be equal or all different (Charikar et
 * al., "Towards estimation error guarantees for distinct values", 2000).
 *
 * The one content that is everywhere, zeros, would make the variance large. It is counted by itself, exactly.
 *
 * Two different contents have equal hashes with probability 2^-64 a pair: among 2^28 pages (1 TiB) less than one in 500
 * times does even one such pair exist. For statistics that is enough; nothing is merged because of it.
 */

const CAPACITY_MIN = 1024
const LOAD_MAX = 0.6
const TWO_32 = 2 ** 32

interface Estimate {
  /** Pages added. */
  pages: number
  zeroPages: number
  /** Pages that repeat a content already stored: Σ (k - 1), estimated. */
  equal: number
  /** Standard deviation of `equal`; 0 where every content is remembered. */
  deviation: number
}

export class PageClasses {
  readonly #share: number
  readonly #zeroLow: number
  readonly #zeroHigh: number
  /** Slots: low word, high word, count. A count of 0 marks an empty one. */
  #slots = new Uint32Array(3 * CAPACITY_MIN)
  #used = 0
  #pages = 0
  #zeroPages = 0

  /** `share`: part of the contents to remember, > 0 to 1. `zeroHash`: the hash of a page of zeros. */
  constructor(share: number, zeroHash: Uint8Array) {
    this.#share = share
    this.#zeroLow = wordAt(zeroHash, 0)
    this.#zeroHigh = wordAt(zeroHash, 4)
  }

  /** Counts a page with the hash of eight bytes. */
  add(hash: Uint8Array): void {
    const low = wordAt(hash, 0)
    const high = wordAt(hash, 4)
    this.#pages++
    if (low === this.#zeroLow && high === this.#zeroHigh) {
      this.#zeroPages++
      return
    }
    // The high word chooses, the low one places: so a sample spreads over the table as all contents do.
    if (high >= this.#share * TWO_32) return
    const slots = this.#slots
    const at = slotOf(slots, low, high)
    if (slots[at + 2] === 0) {
      slots[at] = low
      slots[at + 1] = high
      this.#used++
    }
    slots[at + 2]!++
    if (this.#used * 3 > slots.length * LOAD_MAX) this.#grow()
  }

  estimate(): Estimate {
    const slots = this.#slots
    const share = this.#share
    let sum = 0
    let squares = 0
    for (let at = 0; at < slots.length; at += 3) {
      const repeats = slots[at + 2]! - 1
      if (repeats <= 0) continue
      sum += repeats
      squares += repeats * repeats
    }
    return {
      pages: this.#pages,
      zeroPages: this.#zeroPages,
      equal: sum / share,
      deviation: Math.sqrt((1 - share) * squares) / share,
    }
  }

  #grow(): void {
    const old = this.#slots
    const larger = new Uint32Array(old.length * 2)
    for (let at = 0; at < old.length; at += 3) {
      if (old[at + 2] === 0) continue
      const to = slotOf(larger, old[at]!, old[at + 1]!)
      larger[to] = old[at]!
      larger[to + 1] = old[at + 1]!
      larger[to + 2] = old[at + 2]!
    }
    this.#slots = larger
  }
}

/** Where (low, high) is, or belongs: the index of the slot's first word. The number of slots is a power of two. */
function slotOf(slots: Uint32Array, low: number, high: number): number {
  const mask = slots.length / 3 - 1
  let slot = low & mask
  while (slots[3 * slot + 2] !== 0 && (slots[3 * slot] !== low || slots[3 * slot + 1] !== high))
    slot = (slot + 1) & mask
  return 3 * slot
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
