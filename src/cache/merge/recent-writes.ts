/**
 * Which pages were written not long ago: merging one that is written again soon is work for nothing.
 *
 * Time goes by passes of the scan. A table, found by a hash of the page, says in which pass a page of that hash was written last. So it has a fixed
 * size, and may say so of a page that merely has the same place: then that page waits for two passes in vain, as any volatile one.
 *
 * Pure. Context: the keeper's thread.
 */

/** A page that was written in this pass or the one before is volatile. */
const PASSES = 2
/** Passes are numbered 1 … 255, and 0 is never; after that they come round. */
const LAST_PASS = 255

export class RecentWrites {
  readonly #passes: Uint8Array
  #pass = 1

  /** For a cache of so many frames: a byte each, or less. */
  constructor(frames: number) {
    this.#passes = new Uint8Array(2 ** Math.floor(Math.log2(frames)))
  }

  get bytes(): number {
    return this.#passes.byteLength
  }

  add(mapping: number, page: number): void {
    this.#passes[this.#placeOf(mapping, page)] = this.#pass
  }

  has(mapping: number, page: number): boolean {
    const written = this.#passes[this.#placeOf(mapping, page)]!
    if (written === 0) return false
    return (this.#pass - written + LAST_PASS) % LAST_PASS < PASSES
  }

  /** A pass has ended. */
  nextPass(): void {
    this.#pass = (this.#pass % LAST_PASS) + 1
  }

  #placeOf(mapping: number, page: number): number {
    const key = Math.imul(Math.imul(mapping + 1, 0x9e37_79b1) ^ page, 0x85eb_ca6b)
    return (key ^ (key >>> 15)) & (this.#passes.length - 1)
  }
}
