/**
 * ARC: N. Megiddo, D. S. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003, figure 4.
 *
 * ```
 *   B1 (ghosts) ← T1 seen once        T2 seen more often → B2 (ghosts)        |T1| is to be p, which misses on ghosts move
 * ```
 */
import { Lists } from '../../cache/reclaim/lists.ts'
import { expectAtMost, type SimulatedCache, type SimulatedPolicy } from './policy.ts'

export const arc: SimulatedPolicy = { name: 'ARC', create: (capacity, pages) => new Arc(capacity, pages) }

const T1 = 0
const T2 = 1
const B1 = 2
const B2 = 3

class Arc implements SimulatedCache {
  readonly #capacity: number
  readonly #lists: Lists
  #p = 0

  constructor(capacity: number, pages: number) {
    this.#capacity = capacity
    this.#lists = new Lists(pages, 4)
  }

  access(page: number): boolean {
    const lists = this.#lists
    const capacity = this.#capacity
    const list = lists.listOf(page)
    if (list === B1) {
      this.#p = Math.min(capacity, this.#p + Math.max(1, lists.size(B2) / lists.size(B1)))
      this.#replace(false)
    } else if (list === B2) {
      this.#p = Math.max(0, this.#p - Math.max(1, lists.size(B1) / lists.size(B2)))
      this.#replace(true)
    } else if (list < 0) this.#makeRoom()
    lists.push(list < 0 ? T1 : T2, page)
    return list === T1 || list === T2
  }

  /** For a page of which nothing is known. */
  #makeRoom(): void {
    const lists = this.#lists
    const capacity = this.#capacity
    const once = lists.size(T1) + lists.size(B1)
    const all = once + lists.size(T2) + lists.size(B2)
    if (once === capacity) {
      if (lists.size(T1) === capacity) lists.remove(lists.tail(T1))
      else {
        lists.remove(lists.tail(B1))
        this.#replace(false)
      }
    } else if (all >= capacity) {
      if (all === 2 * capacity) lists.remove(lists.tail(B2))
      this.#replace(false)
    }
  }

  #replace(fromB2: boolean): void {
    const lists = this.#lists
    const size = lists.size(T1)
    if (size > 0 && (size > this.#p || (fromB2 && size === Math.floor(this.#p)))) lists.push(B1, lists.tail(T1))
    else lists.push(B2, lists.tail(T2))
  }

  checkInvariants(): void {
    const lists = this.#lists
    lists.checkInvariants()
    expectAtMost(lists.size(T1) + lists.size(T2), this.#capacity, 'T1 + T2')
    expectAtMost(lists.size(T1) + lists.size(B1), this.#capacity, 'T1 + B1')
    expectAtMost(lists.size(T1) + lists.size(T2) + lists.size(B1) + lists.size(B2), 2 * this.#capacity, 'all')
  }
}
