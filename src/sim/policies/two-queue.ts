/**
 * 2Q: T. Johnson, D. Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement Algorithm", VLDB 1994, the full version,
 * with the paper's Kin = 25% and Kout = 50% of the cache.
 *
 * ```
 *   A1in (fifo, seen lately) → A1out (ghosts)        Am (lru): what is asked for again while it is in A1out
 * ```
 */
import { Lists } from '../../cache/reclaim/lists.ts'
import { expectAtMost, type SimulatedCache, type SimulatedPolicy } from './policy.ts'

export const twoQueue: SimulatedPolicy = { name: '2Q', create: (capacity, pages) => new TwoQueue(capacity, pages) }

const A1IN = 0
const A1OUT = 1
const AM = 2

class TwoQueue implements SimulatedCache {
  readonly #capacity: number
  readonly #inMax: number
  readonly #outMax: number
  readonly #lists: Lists

  constructor(capacity: number, pages: number) {
    this.#capacity = capacity
    this.#inMax = Math.max(1, Math.floor(capacity / 4))
    this.#outMax = Math.max(1, Math.floor(capacity / 2))
    this.#lists = new Lists(pages, 3)
  }

  access(page: number): boolean {
    const lists = this.#lists
    const list = lists.listOf(page)
    if (list === A1IN) return true
    if (list !== AM) {
      // Before room is made, which may push it out of A1out.
      if (list === A1OUT) lists.remove(page)
      this.#makeRoom()
    }
    lists.push(list < 0 ? A1IN : AM, page)
    return list === AM
  }

  #makeRoom(): void {
    const lists = this.#lists
    if (lists.size(A1IN) + lists.size(AM) < this.#capacity) return
    if (lists.size(A1IN) > this.#inMax || lists.size(AM) === 0) {
      lists.push(A1OUT, lists.tail(A1IN))
      if (lists.size(A1OUT) > this.#outMax) lists.remove(lists.tail(A1OUT))
    } else lists.remove(lists.tail(AM))
  }

  checkInvariants(): void {
    const lists = this.#lists
    lists.checkInvariants()
    expectAtMost(lists.size(A1IN) + lists.size(AM), this.#capacity, 'A1in + Am')
    expectAtMost(lists.size(A1OUT), this.#outMax, 'A1out')
  }
}
