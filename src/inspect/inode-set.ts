/** A set of inode numbers: eight bytes a slot, open addressing, for hard links and directories by the million. */

const CAPACITY_MIN = 64
/** Slots in use, at most, before the table doubles. */
const LOAD_MAX = 0.6

/**
 * Numbers come as two halves of 32 bits: those of overlayfs use all 64, and as floats many would be one.
 */
export class InodeSet {
  // 0, which no file has, marks an empty slot.
  #low = new Uint32Array(CAPACITY_MIN)
  #high = new Uint32Array(CAPACITY_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(low: number, high: number): boolean {
    return !this.#isEmpty(this.#slotOf(low, high))
  }

  /** Adds an inode number; false if it was there. */
  add(low: number, high: number): boolean {
    const slot = this.#slotOf(low, high)
    if (!this.#isEmpty(slot)) return false
    this.#low[slot] = low
    this.#high[slot] = high
    if (++this.#size > this.#low.length * LOAD_MAX) this.#grow()
    return true
  }

  #grow(): void {
    const [lows, highs] = [this.#low, this.#high]
    this.#low = new Uint32Array(lows.length * 2)
    this.#high = new Uint32Array(lows.length * 2)
    for (let i = 0; i < lows.length; i++) {
      const [low, high] = [lows[i]!, highs[i]!]
      if (low === 0 && high === 0) continue
      const slot = this.#slotOf(low, high)
      this.#low[slot] = low
      this.#high[slot] = high
    }
  }

  #isEmpty(slot: number): boolean {
    return this.#low[slot] === 0 && this.#high[slot] === 0
  }

  /** The slot that holds the number, or the empty one where it belongs. There is a power of two of them. */
  #slotOf(low: number, high: number): number {
    const mask = this.#low.length - 1
    // Fibonacci hashing of both halves: inode numbers come in runs, and high halves differ by allocation group.
    const mixed = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
    let slot = (mixed ^ (mixed >>> 15)) & mask
    while (!this.#isEmpty(slot) && (this.#low[slot] !== low || this.#high[slot] !== high)) slot = (slot + 1) & mask
    return slot
  }
}
