/**
 * The pages of one request that nobody waits for: it ends where the next page of it would take the place of an earlier one. Pages that were loaded ahead go in the order in which they came, so without
 * this a range that does not fit would be read to its end, and its beginning, which is wanted first, be gone.
 */
export class KeptPages {
  /** There is no room for more. */
  isFull = false
  /** By mapping, from the first to behind the last: a file that lies in one home in many pieces has one range there. */
  readonly #ranges = new Map<number, { from: number; to: number }>()

  add(mapping: number, page: number, count: number): void {
    const { from = page, to = page } = this.#ranges.get(mapping) ?? {}
    this.#ranges.set(mapping, { from: Math.min(from, page), to: Math.max(to, page + count) })
  }

  has(mapping: number, page: number): boolean {
    const range = this.#ranges.get(mapping)
    return range !== undefined && range.from <= page && page < range.to
  }
}
