/** Signals that came before the request that they are to end: messages of two workers may overtake each other. Most are of requests that have been answered. */
const EARLY_INTERRUPTS_MAX = 256

export class EarlyInterrupts {
  readonly #numbers = new Set<string>()

  /** There was one for request `number`, which nobody knows of. */
  add(number: string): void {
    this.#numbers.add(number)
    if (this.#numbers.size > EARLY_INTERRUPTS_MAX) this.#numbers.delete(this.#numbers.values().next().value!)
  }

  /** Whether there was one for request `number`, which has come now. */
  take(number: string): boolean {
    return this.#numbers.delete(number)
  }
}
