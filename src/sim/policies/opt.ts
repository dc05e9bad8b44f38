/**
 * OPT: the page that is asked for last goes first. L. A. Belady, "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM
 * Systems Journal 1966. No policy misses less often; it has to know what comes, so it takes the whole trace.
 */

/** How many accesses of `trace`, to pages [0, pages), miss in a cache of `capacity`. */
export function countOptMisses(trace: Uint32Array, pages: number, capacity: number): number {
  const next = nextAccesses(trace, pages)
  const isCached = new Uint8Array(pages)
  // When the cached pages are asked for next. Those that never are have no time, and go first.
  const times = new TimeSet(trace.length)
  const useless: number[] = []
  let cached = 0
  let misses = 0
  for (let now = 0; now < trace.length; now++) {
    const page = trace[now]!
    if (isCached[page]) times.remove(now)
    else {
      misses++
      if (cached === capacity) isCached[useless.pop() ?? trace[times.takeLast()]!] = 0
      else cached++
      isCached[page] = 1
    }
    if (next[now] === trace.length) useless.push(page)
    else times.add(next[now]!)
  }
  return misses
}

/** When each access's page is asked for next; the trace's length if never. */
function nextAccesses(trace: Uint32Array, pages: number): Uint32Array {
  const next = new Uint32Array(trace.length)
  const seen = new Uint32Array(pages).fill(trace.length)
  for (let now = trace.length - 1; now >= 0; now--) {
    next[now] = seen[trace[now]!]!
    seen[trace[now]!] = now
  }
  return next
}

/** A set of numbers as a bitmap; each level above says which words of the one below are not empty. */
class TimeSet {
  readonly #levels: Uint32Array[] = []

  constructor(end: number) {
    let words = end
    do {
      words = Math.ceil(words / 32)
      this.#levels.push(new Uint32Array(words))
    } while (words > 1)
  }

  add(time: number): void {
    let at = time
    for (const level of this.#levels) {
      level[at >>> 5]! |= 1 << (at & 31)
      at >>>= 5
    }
  }

  remove(time: number): void {
    let at = time
    for (const level of this.#levels) {
      level[at >>> 5]! &= ~(1 << (at & 31))
      if (level[at >>> 5] !== 0) return
      at >>>= 5
    }
  }

  /** Removes the last one and returns it; there must be one. */
  takeLast(): number {
    let at = 0
    for (let i = this.#levels.length - 1; i >= 0; i--) at = at * 32 + 31 - Math.clz32(this.#levels[i]![at]!)
    this.remove(at)
    return at
  }
}
