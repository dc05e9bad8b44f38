/** Least recently used goes first. */
import { Lists } from '../../cache/reclaim/lists.ts'
import { expectAtMost, type SimulatedCache, type SimulatedPolicy } from './policy.ts'

export const lru: SimulatedPolicy = { name: 'LRU', create: (capacity, pages) => new Lru(capacity, pages) }

class Lru implements SimulatedCache {
  readonly #capacity: number
  readonly #lists: Lists

  constructor(capacity: number, pages: number) {
    this.#capacity = capacity
    this.#lists = new Lists(pages, 1)
  }

  access(page: number): boolean {
    const lists = this.#lists
    const hit = lists.listOf(page) === 0
    if (!hit && lists.size(0) === this.#capacity) lists.remove(lists.tail(0))
    lists.push(0, page)
    return hit
  }

  checkInvariants(): void {
    this.#lists.checkInvariants()
    expectAtMost(this.#lists.size(0), this.#capacity, 'pages')
  }
}
