/** What the placer has found and done: counters that only it writes, and anybody reads. */
import type { Placement } from '../../linux/page-placement.ts'

const LOOKED = 0
const ELSEWHERE = 1
const MOVED = 2
const READ = 3
const VALUES = 4

export class PlacementStats {
  readonly #values: Float64Array

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(VALUES * 8)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#values = new Float64Array(buffer)
  }

  add({ looked, elsewhere, moved }: Placement): void {
    this.#values[LOOKED]! += looked
    this.#values[ELSEWHERE]! += elsewhere
    this.#values[MOVED]! += moved
  }

  addRead(pages: number): void {
    this.#values[READ]! += pages
  }

  /** Pages of which the kernel was asked where they lie. */
  get looked(): number {
    return this.#values[LOOKED]!
  }

  /** Of them, those that lay on another node. */
  get elsewhere(): number {
    return this.#values[ELSEWHERE]!
  }

  /** Of those, the ones that were moved. */
  get moved(): number {
    return this.#values[MOVED]!
  }

  /** Pages that were read before anybody asked for them. */
  get read(): number {
    return this.#values[READ]!
  }
}
