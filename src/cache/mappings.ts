/**
 * The table of mappings: which are in use, and what their records tell readers.
 *
 * Where each NUMA node has pages of its own, a file has a mapping for each node, numbered one after the other, and what is said of the first of them is of all.
 *
 * Context: the keeper's thread.
 */
import { MAPPING, mappingAt, PAGES_MAX } from '../layout/mapping-record.ts'
import { PAGE_BYTES } from './entry.ts'
import type { CacheMemory } from './memory.ts'

export class Mappings {
  readonly #words: Int32Array
  readonly #most: number
  readonly #inUse = new Set<number>()
  /** By mapping. */
  readonly #domains: Int32Array
  #next = 0
  #perFile = 1

  constructor(memory: CacheMemory) {
    this.#words = new Int32Array(memory.mappings)
    this.#most = memory.sizes.mappings
    this.#domains = new Int32Array(this.#most)
  }

  /** From now on, before the first is created, a file has as many. */
  setPerFile(count: number): void {
    this.#perFile = count
  }

  /** Those that are in use, each of a file's. */
  get inUse(): ReadonlySet<number> {
    return this.#inUse
  }

  /** A mapping of nothing yet, the first of a file's; -1 where there are too many. `domain`: its pages are never merged with those of another one. */
  create(domain = 0): number {
    const most = this.#most - (this.#most % this.#perFile)
    for (let tries = 0; tries < most; tries += this.#perFile) {
      const mapping = this.#next
      this.#next = (mapping + this.#perFile) % most
      if (this.#inUse.has(mapping)) continue
      for (const each of this.ofFile(mapping)) {
        this.#inUse.add(each)
        // What is equal on two nodes is meant to be.
        this.#domains[each] = domain * this.#perFile + (each - mapping)
      }
      return mapping
    }
    return -1
  }

  delete(mapping: number): void {
    for (const each of this.ofFile(mapping)) this.#inUse.delete(each)
  }

  /** All mappings of the file whose first is `mapping`. */
  ofFile(mapping: number): readonly number[] {
    return this.#perFile === 1 ? [mapping] : Array.from({ length: this.#perFile }, (_, node) => mapping + node)
  }

  /** The first mapping of the file that `mapping` is of. */
  firstOf(mapping: number): number {
    return mapping - (mapping % this.#perFile)
  }

  /** Of a file's mappings the one that readers on `node` use. */
  on(mapping: number, node: number): number {
    return this.#perFile === 1 ? mapping : mapping + node
  }

  domainOf(mapping: number): number {
    return this.#domains[mapping]!
  }

  /** Tells readers the size of what is mapped, in bytes. */
  setSize(mapping: number, bytes: number): void {
    for (const each of this.ofFile(mapping)) {
      const at = mappingAt(each)
      const endPage = Math.min(Math.floor(bytes / PAGE_BYTES), PAGES_MAX - 1)
      Atomics.add(this.#words, at + MAPPING.VERSION, 1)
      Atomics.store(this.#words, at + MAPPING.END_PAGE, endPage)
      Atomics.store(this.#words, at + MAPPING.SIZE_LOW, bytes | 0)
      Atomics.store(this.#words, at + MAPPING.SIZE_HIGH, Math.floor(bytes / 2 ** 32))
      Atomics.add(this.#words, at + MAPPING.VERSION, 1)
    }
  }

  /** Makes everybody who has the file open ask how it is served now. Returns the version that this has. */
  changeLayout(mapping: number): number {
    let version = 0
    // Those of one file are always changed together, so they agree.
    for (const each of this.ofFile(mapping)) version = this.#changeLayout(each)
    return version
  }

  changeAllLayouts(): void {
    for (let mapping = 0; mapping < this.#most; mapping++) this.#changeLayout(mapping)
  }

  #changeLayout(mapping: number): number {
    return (Atomics.add(this.#words, mappingAt(mapping) + MAPPING.LAYOUT, 1) + 1) | 0
  }
}
