/** What files hold on the disk: each page in two halves, which are written and read one after the other. Words of simulated memory, so that whoever reads can be interrupted. */
import type { SimFile } from './files.ts'
import type { SimMemory } from './sim-memory.ts'

const HALF_BYTES = 2048
export const HALVES = [0, 1] as const

export class Disk {
  readonly #memory: SimMemory
  readonly #words: Int32Array
  readonly #base: number
  readonly #places = new Map<string, number>()

  /** `words`: simulated ones, for as many pages as there are, from address `base` on. */
  constructor(memory: SimMemory, words: Int32Array, base: number) {
    this.#memory = memory
    this.#words = words
    this.#base = base
  }

  add({ name }: SimFile, page: number): void {
    this.#places.set(`${name}/${page}`, this.#places.size * HALVES.length)
  }

  /** A system call: everybody sees it at once. */
  write(file: SimFile, page: number, half: number, value: number): void {
    this.#memory.commit(this.#base + this.#at(file, page, half), value)
  }

  writePage(file: SimFile, page: number, value: number): void {
    for (const half of HALVES) this.write(file, page, half, value)
  }

  /** The value of the page that the byte at `offset` is of. */
  valueOf(file: SimFile, page: number, offset: number): number {
    return this.#memory.get(this.#base + this.#at(file, page, Math.floor(offset / HALF_BYTES)))
  }

  /** Both halves, by a thread that can be interrupted in between. */
  read(file: SimFile, page: number): number[] {
    return HALVES.map((half) => Atomics.load(this.#words, this.#at(file, page, half)))
  }

  #at({ name }: SimFile, page: number, half: number): number {
    return this.#places.get(`${name}/${page}`)! + half
  }
}
