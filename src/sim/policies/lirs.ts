/**
 * LIRS: S. Jiang, X. Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy to Improve Buffer Cache Performance",
 * SIGMETRICS 2002, with the paper's 1% for resident HIR pages and, as its authors' program, a stack without bound.
 *
 * ```
 *   S (stack by recency): LIR pages, and HIR pages, resident or not, that were seen since the oldest LIR page was
 *   Q (fifo):             resident HIR pages, the next to go
 * ```
 */
import { Lists } from '../../cache/reclaim/lists.ts'
import { expectAtMost, type SimulatedCache, type SimulatedPolicy } from './policy.ts'

export const lirs: SimulatedPolicy = { name: 'LIRS', create: (capacity, pages) => new Lirs(capacity, pages) }

class Lirs implements SimulatedCache {
  readonly #capacity: number
  readonly #lirMax: number
  readonly #stack: Lists
  readonly #queue: Lists
  readonly #isLir: Uint8Array
  #lirs = 0

  constructor(capacity: number, pages: number) {
    this.#capacity = capacity
    this.#lirMax = capacity - Math.min(capacity - 1, Math.max(1, Math.floor(capacity / 100)))
    this.#stack = new Lists(pages, 1)
    this.#queue = new Lists(pages, 1)
    this.#isLir = new Uint8Array(pages)
  }

  access(page: number): boolean {
    const stack = this.#stack
    const queue = this.#queue
    if (this.#isLir[page]) {
      stack.push(0, page)
      this.#prune()
      return true
    }
    const hit = queue.listOf(page) === 0
    if (!hit && this.#lirs + queue.size(0) === this.#capacity) this.#evict()
    if (this.#capacity === 1) {
      queue.push(0, page)
      return hit
    }
    const isInStack = stack.listOf(page) === 0
    stack.push(0, page)
    if (isInStack || (!hit && this.#lirs < this.#lirMax)) {
      if (hit) queue.remove(page)
      this.#isLir[page] = 1
      this.#lirs++
      if (this.#lirs > this.#lirMax) this.#demote()
    } else queue.push(0, page)
    return hit
  }

  /** A page of Q goes; in S it stays as a ghost. */
  #evict(): void {
    if (this.#queue.size(0) === 0) this.#demote()
    this.#queue.remove(this.#queue.tail(0))
  }

  /** The oldest LIR page becomes a resident HIR page. */
  #demote(): void {
    const page = this.#stack.tail(0)
    this.#stack.remove(page)
    this.#isLir[page] = 0
    this.#lirs--
    this.#queue.push(0, page)
    this.#prune()
  }

  /** At the bottom of S there is a LIR page. */
  #prune(): void {
    for (let page = this.#stack.tail(0); page >= 0 && !this.#isLir[page]; page = this.#stack.tail(0))
      this.#stack.remove(page)
  }

  checkInvariants(): void {
    this.#stack.checkInvariants()
    this.#queue.checkInvariants()
    expectAtMost(this.#lirs + this.#queue.size(0), this.#capacity, 'LIR + Q')
    expectAtMost(this.#lirs, this.#lirMax, 'LIR')
    const bottom = this.#stack.tail(0)
    if (bottom >= 0 && !this.#isLir[bottom]) throw new Error('the stack is not pruned')
  }
}
