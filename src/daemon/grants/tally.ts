/** How many each has. */
export class Tally<T> {
  readonly #counts = new Map<T, number>()

  of(it: T): number {
    return this.#counts.get(it) ?? 0
  }

  add(it: T): void {
    this.#counts.set(it, this.of(it) + 1)
  }

  take(it: T): void {
    const rest = this.of(it) - 1
    if (rest > 0) this.#counts.set(it, rest)
    else this.#counts.delete(it)
  }
}
