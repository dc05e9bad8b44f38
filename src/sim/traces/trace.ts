/** A trace: which pages were asked for, one after the other. */

export interface Trace {
  readonly name: string
  /** Pages as numbers [0, pages), in the order of their first access. */
  readonly accesses: Uint32Array
  /** How many different pages there are. */
  readonly pages: number
}

/** Collects the accesses of a trace and numbers its pages. Pages are known by any number: a block's, or a file's and an offset in one. */
export class TraceBuilder {
  #accesses = new Uint32Array(1 << 16)
  #length = 0
  readonly #numbers = new Map<number, number>()

  add(page: number): void {
    let number = this.#numbers.get(page)
    if (number === undefined) {
      number = this.#numbers.size
      this.#numbers.set(page, number)
    }
    if (this.#length === this.#accesses.length) {
      const longer = new Uint32Array(2 * this.#length)
      longer.set(this.#accesses)
      this.#accesses = longer
    }
    this.#accesses[this.#length++] = number
  }

  addRun(first: number, count: number): void {
    for (let page = first; page < first + count; page++) this.add(page)
  }

  build(name: string): Trace {
    return { name, accesses: this.#accesses.slice(0, this.#length), pages: this.#numbers.size }
  }
}
