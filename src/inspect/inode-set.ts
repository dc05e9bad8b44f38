/** A set of inode numbers: eight bytes a slot, open addressing, for hard links and directories by the million. */

const CAPACITY_MIN = 64
/** Slots in use, at most, before the table doubles. */
const LOAD_MAX = 0.6

export class InodeSet {
  /** Inode numbers; 0, which no file has, marks an empty slot. */
  #slots = new Float64Array(CAPACITY_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(ino: number): boolean {
    return this.#slots[slotOf(this.#slots, ino)] === ino
  }

  /** Adds `ino` (positive, below 2^53); false if it was there. */
  add(ino: number): boolean {
    const slot = slotOf(this.#slots, ino)
    if (this.#slots[slot] === ino) return false
    this.#slots[slot] = ino
    if (++this.#size > this.#slots.length * LOAD_MAX) this.#grow()
    return true
  }

  #grow(): void {
    const larger = new Float64Array(this.#slots.length * 2)
    for (const ino of this.#slots) if (ino !== 0) larger[slotOf(larger, ino)] = ino
    this.#slots = larger
  }
}

/** The slot that holds `ino`, or the empty one where it belongs. `slots.length` is a power of two. */
function slotOf(slots: Float64Array, ino: number): number {
  const mask = slots.length - 1
  // Fibonacci hashing of both halves: inode numbers come in runs, and high halves differ by allocation group.
  const mixed = Math.imul(((ino % 2 ** 32) | 0) ^ Math.imul((ino / 2 ** 32) | 0, 0x85ebca6b), 0x9e3779b1)
  let slot = (mixed ^ (mixed >>> 15)) & mask
  while (slots[slot] !== 0 && slots[slot] !== ino) slot = (slot + 1) & mask
  return slot
}
