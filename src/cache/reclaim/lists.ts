/**
 * Doubly linked lists of numbers [0, count): each number is in one list at most. Nothing is allocated after the construction.
 *
 * ```
 *   head (newest) ⇄ … ⇄ tail (oldest)        one ring for each list; its sentinel has the number count + list
 * ```
 * Invariants: next and previous agree; every number's list is the one in whose ring it is; sizes are those of the rings.
 */
export class Lists {
  readonly #next: Int32Array
  readonly #previous: Int32Array
  /** 0: in no list; else the list's number and one. */
  readonly #list: Uint8Array
  readonly #sizes: Int32Array
  readonly #count: number

  constructor(count: number, lists: number) {
    this.#count = count
    this.#next = new Int32Array(count + lists)
    this.#previous = new Int32Array(count + lists)
    this.#list = new Uint8Array(count)
    this.#sizes = new Int32Array(lists)
    for (let list = 0; list < lists; list++) {
      this.#next[count + list] = count + list
      this.#previous[count + list] = count + list
    }
  }

  size(list: number): number {
    return this.#sizes[list]!
  }

  /** The list in which `item` is, or -1. */
  listOf(item: number): number {
    return this.#list[item]! - 1
  }

  /** The oldest of a list, or -1. */
  tail(list: number): number {
    return this.#orNone(this.#previous[this.#count + list]!)
  }

  /** The next newer in the same list, or -1. */
  newer(item: number): number {
    return this.#orNone(this.#previous[item]!)
  }

  /** Makes `item` the newest of `list`; takes it out of the one in which it is. */
  push(list: number, item: number): void {
    if (this.#list[item] !== 0) this.remove(item)
    const sentinel = this.#count + list
    const first = this.#next[sentinel]!
    this.#next[item] = first
    this.#previous[item] = sentinel
    this.#previous[first] = item
    this.#next[sentinel] = item
    this.#list[item] = list + 1
    this.#sizes[list]!++
  }

  /** Takes `item` out of its list; it must be in one. */
  remove(item: number): void {
    const list = this.#list[item]! - 1
    if (list < 0) throw new Error(`${item} is in no list`)
    const next = this.#next[item]!
    const previous = this.#previous[item]!
    this.#next[previous] = next
    this.#previous[next] = previous
    this.#list[item] = 0
    this.#sizes[list]!--
  }

  /** Throws when a ring is broken. For tests: walks everything. */
  checkInvariants(): void {
    let listed = 0
    for (let list = 0; list < this.#sizes.length; list++) {
      const sentinel = this.#count + list
      let size = 0
      for (let at = this.#next[sentinel]!; at !== sentinel; at = this.#next[at]!) {
        if (this.#next[this.#previous[at]!] !== at || this.#previous[this.#next[at]!] !== at)
          throw new Error(`list ${list}: the neighbours of ${at} do not know it`)
        if (this.#list[at] !== list + 1) throw new Error(`list ${list} has ${at}, which is in ${this.#list[at]! - 1}`)
        if (++size > this.#count) throw new Error(`list ${list} has no end`)
      }
      if (size !== this.#sizes[list]) throw new Error(`list ${list} has ${size}, not ${this.#sizes[list]}`)
      listed += size
    }
    if (listed !== this.#list.reduce((sum, list) => sum + (list === 0 ? 0 : 1), 0))
      throw new Error('a number that is in a list cannot be found there')
  }

  #orNone(at: number): number {
    return at < this.#count ? at : -1
  }
}
