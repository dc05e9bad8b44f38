/** Counts that fade: what happened lately counts, and what is long ago is forgotten. */
export class FadingCounts<Key> {
  readonly #counts = new Map<Key, number>()

  get(key: Key): number {
    return this.#counts.get(key) ?? 0
  }

  /** One more, up to `most`: how many that are. */
  add(key: Key, most = Number.POSITIVE_INFINITY): number {
    const count = Math.min(most, this.get(key) + 1)
    this.#counts.set(key, count)
    return count
  }

  delete(key: Key): void {
    this.#counts.delete(key)
  }

  /** Halves all, and forgets what is less than one. */
  fade(): void {
    for (const [key, count] of this.#counts)
      if (count < 2) this.#counts.delete(key)
      else this.#counts.set(key, count >> 1)
  }
}

/** What a page is counted by. */
export function keyOfPage(mapping: number, page: number): string {
  return `${mapping}:${page}`
}
