/** The memory that an arena's pages, and what leads to them, may take: as it was said, or less while memory is short. */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import type { Arena } from './arena.ts'

/** The least that a cache can do something with. */
export const MEMORY_MIN = 64 * PAGE_BYTES

/** Context: the keeper's thread. */
export class MemoryLimit {
  readonly #arena: Arena
  readonly #pages: PageKeeper
  readonly #bytesMin: number
  /** What was said, and how much of it may be used now. */
  #bytesSaid: number
  #share = 1
  #bytes: number

  /** `pages` was made for `bytes` without the arena's slack. */
  constructor(arena: Arena, pages: PageKeeper, bytes: number, bytesMin: number) {
    this.#arena = arena
    this.#pages = pages
    this.#bytesSaid = bytes
    this.#bytes = bytes
    this.#bytesMin = bytesMin
    pages.tellLimit()
  }

  /** Of this moment. */
  get bytes(): number {
    return this.#bytes
  }

  resize(bytes: number): void {
    this.#bytesSaid = bytes
    this.#apply()
  }

  /** Memory is short: only a share of what was said may be used, until another is given. */
  yieldTo(share: number): void {
    this.#share = share
    this.#apply()
  }

  #apply(): void {
    const bytes = this.#bytesSaid * this.#share
    if (bytes < this.#bytes) this.#arena.forgoHugePages()
    this.#bytes = Math.max(this.#bytesMin, Math.floor(bytes))
    this.#pages.resize(this.#bytes - this.#arena.slackBytes)
    this.#pages.tellLimit()
  }
}
