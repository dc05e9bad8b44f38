/**
 * S3-FIFO: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vinayak, "FIFO Queues are All You Need for Cache Eviction", SOSP 2023, algorithm 1.
 * It only counts at a hit, so the cache could drive it exactly like this.
 *
 * ```
 *   S (fifo, a tenth) → asked for twice since: M (fifo, second chances)
 *                     → else G (ghosts, as many as M may have) → asked for again: M
 * ```
 */
import { Lists } from '../../cache/reclaim/lists.ts'
import { expectAtMost, type SimulatedCache, type SimulatedPolicy } from './policy.ts'

export const s3Fifo: SimulatedPolicy = { name: 'S3-FIFO', create: (capacity, pages) => new S3Fifo(capacity, pages) }

const SMALL = 0
const MAIN = 1
const GHOST = 2
const FREQUENCY_MAX = 3

class S3Fifo implements SimulatedCache {
  readonly #capacity: number
  readonly #smallMax: number
  readonly #ghostMax: number
  readonly #lists: Lists
  readonly #frequency: Uint8Array

  constructor(capacity: number, pages: number) {
    this.#capacity = capacity
    this.#smallMax = Math.max(1, Math.floor(capacity / 10))
    this.#ghostMax = Math.max(1, capacity - this.#smallMax)
    this.#lists = new Lists(pages, 3)
    this.#frequency = new Uint8Array(pages)
  }

  access(page: number): boolean {
    const lists = this.#lists
    const list = lists.listOf(page)
    if (list === SMALL || list === MAIN) {
      if (this.#frequency[page]! < FREQUENCY_MAX) this.#frequency[page]!++
      return true
    }
    // Before room is made, which may push it out of the ghosts.
    if (list === GHOST) lists.remove(page)
    while (lists.size(SMALL) + lists.size(MAIN) >= this.#capacity) {
      if (lists.size(SMALL) >= this.#smallMax || lists.size(MAIN) === 0) this.#evictSmall()
      else this.#evictMain()
    }
    lists.push(list === GHOST ? MAIN : SMALL, page)
    this.#frequency[page] = 0
    return false
  }

  #evictSmall(): void {
    const lists = this.#lists
    const page = lists.tail(SMALL)
    if (this.#frequency[page]! > 1) {
      lists.push(MAIN, page)
      this.#frequency[page] = 0
      return
    }
    lists.push(GHOST, page)
    if (lists.size(GHOST) > this.#ghostMax) lists.remove(lists.tail(GHOST))
  }

  #evictMain(): void {
    const lists = this.#lists
    const page = lists.tail(MAIN)
    if (this.#frequency[page]! > 0) {
      this.#frequency[page]!--
      lists.push(MAIN, page)
    } else lists.remove(page)
  }

  checkInvariants(): void {
    const lists = this.#lists
    lists.checkInvariants()
    expectAtMost(lists.size(SMALL) + lists.size(MAIN), this.#capacity, 'S + M')
    expectAtMost(lists.size(GHOST), this.#ghostMax, 'G')
  }
}
