/**
 * Who is known for which physical addresses of one file system: disjoint spans in address order.
 *
 * What is found here is a *hint* and nothing more: blocks move and are used again without anybody telling us.
 *
 * The spans lie in chunks of bounded size (a B+ tree of two levels), so that a change moves hundreds of spans, not all.
 */

interface Span<Owner> {
  /** Physical addresses [start, end), in bytes. */
  readonly start: number
  readonly end: number
  readonly owner: Owner
  /** Where the byte at `start` lies in the owner's file. */
  readonly offset: number
}

const CHUNK_SPANS_MAX = 512

/**
 * Invariants (restated by {@link checkInvariants}):
 * - spans are not empty, ascending and disjoint; no chunk is empty or longer than CHUNK_SPANS_MAX;
 * - every span of an owner lies in the ranges kept for its removal.
 */
export class AddressIndex<Owner> {
  /** Spans in address order, in chunks. */
  #chunks: Span<Owner>[][] = []
  /** Per owner the ranges that it was ever given (start, end, start, end, …): where its spans are, if it still has them. */
  readonly #ranges = new Map<Owner, number[]>()

  /** Number of spans. */
  get size(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  }

  get owners(): Iterable<Owner> {
    return this.#ranges.keys()
  }

  has(owner: Owner): boolean {
    return this.#ranges.has(owner)
  }

  /** Calls `visit` for the parts of spans that lie in [start, end), in address order. The index must not change meanwhile. */
  visit(start: number, end: number, visit: (owner: Owner, start: number, end: number, offset: number) => void): void {
    let [chunkAt, at] = this.#locate(start)
    for (; chunkAt < this.#chunks.length; chunkAt++, at = 0) {
      const chunk = this.#chunks[chunkAt]!
      for (; at < chunk.length; at++) {
        const span = chunk[at]!
        if (span.start >= end) return
        const from = Math.max(span.start, start)
        visit(span.owner, from, Math.min(span.end, end), span.offset + (from - span.start))
      }
    }
  }

  /** Bytes in spans of `owner`. */
  bytesOf(owner: Owner): number {
    let bytes = 0
    for (const { start, end } of mergeRanges(this.#ranges.get(owner) ?? [])) {
      this.visit(start, end, (present, from, to) => {
        if (present === owner) bytes += to - from
      })
    }
    return bytes
  }

  /**
   * Says that [start, end) holds `owner`'s bytes from `offset` on, except where a present owner may not be replaced.
   */
  set(start: number, end: number, owner: Owner, offset: number, mayReplace: (present: Owner) => boolean): void {
    if (start >= end) return
    const spans: Span<Owner>[] = []
    let at = start
    const fill = (to: number) => {
      if (at < to) spans.push({ start: at, end: to, owner, offset: offset + (at - start) })
    }
    this.visit(start, end, (present, from, to, presentOffset) => {
      if (present === owner || mayReplace(present)) return
      fill(from)
      spans.push({ start: from, end: to, owner: present, offset: presentOffset })
      at = to
    })
    fill(end)
    this.#replace(start, end, spans)
    const ranges = this.#ranges.get(owner)
    if (ranges === undefined) this.#ranges.set(owner, [start, end])
    else if (ranges.at(-1) === start) ranges[ranges.length - 1] = end
    else ranges.push(start, end)
  }

  /** Removes all spans of `owner`. */
  delete(owner: Owner): void {
    const ranges = this.#ranges.get(owner)
    if (ranges === undefined) return
    for (let i = 0; i < ranges.length; i += 2) {
      const [start, end] = [ranges[i]!, ranges[i + 1]!]
      const others: Span<Owner>[] = []
      this.visit(start, end, (present, from, to, offset) => {
        if (present !== owner) others.push({ start: from, end: to, owner: present, offset })
      })
      this.#replace(start, end, others)
    }
    this.#ranges.delete(owner)
  }

  /** All spans, for tests and printing. */
  toArray(): Span<Owner>[] {
    return this.#chunks.flat()
  }

  checkInvariants(): void {
    const spans = this.toArray()
    const fail = (what: string) => {
      throw new Error(`address index: ${what}\n${spans.map((s) => `  ${s.start}..${s.end} @${s.offset}`).join('\n')}`)
    }
    for (const chunk of this.#chunks) {
      if (chunk.length === 0 || chunk.length > CHUNK_SPANS_MAX) fail(`a chunk of ${chunk.length}`)
    }
    const merged = new Map([...this.#ranges].map(([owner, ranges]) => [owner, mergeRanges(ranges)]))
    for (const [i, span] of spans.entries()) {
      if (span.start >= span.end) fail(`span ${i} is empty`)
      if (i > 0 && spans[i - 1]!.end > span.start) fail(`span ${i} overlaps its predecessor`)
      const ranges = merged.get(span.owner) ?? []
      const at = ranges[lowerBound(ranges.length, (r) => ranges[r]!.end > span.start)]
      if (at === undefined || at.start > span.start || at.end < span.end) fail(`span ${i} would outlive its owner`)
    }
  }

  /** Replaces what lies in [start, end) by `spans`, which lie in it and are in order. Spans reaching out are cut. */
  #replace(start: number, end: number, spans: Span<Owner>[]): void {
    let [firstChunk, firstAt] = this.#locate(start)
    if (firstChunk === this.#chunks.length) {
      // Beyond all: the last chunk grows.
      if (firstChunk === 0) this.#chunks.push([])
      else firstChunk--
      firstAt = this.#chunks[firstChunk]!.length
    }
    const head = this.#chunks[firstChunk]![firstAt]
    if (head !== undefined && head.start < start) spans = [{ ...head, end: start }, ...spans]

    // Phase 1: find where the range ends, remembering what reaches beyond it.
    let [lastChunk, lastAt] = [firstChunk, firstAt]
    let tail: Span<Owner> | undefined
    for (let next = lastChunk, at = lastAt; next < this.#chunks.length; next++, at = 0) {
      const chunk = this.#chunks[next]!
      if (at < chunk.length && chunk[at]!.start >= end) break
      ;[lastChunk, lastAt] = [next, at]
      while (lastAt < chunk.length && chunk[lastAt]!.start < end) tail = chunk[lastAt++]
      if (lastAt < chunk.length) break
    }
    if (tail !== undefined && tail.end > end) {
      spans = [...spans, { ...tail, start: end, offset: tail.offset + (end - tail.start) }]
    }

    // Phase 2: put what is new between what precedes and what follows; a chunk that got small takes in its successor.
    const before = this.#chunks[firstChunk]!.slice(0, firstAt)
    const after = this.#chunks[lastChunk]!.slice(lastAt)
    let whole = before.concat(spans, after)
    if (whole.length < CHUNK_SPANS_MAX / 4) whole = whole.concat(this.#chunks[++lastChunk] ?? [])

    // Phase 3: cut it into chunks of bounded size.
    const pieces: Span<Owner>[][] = []
    const count = Math.ceil(whole.length / CHUNK_SPANS_MAX)
    for (let i = 0; i < count; i++) {
      pieces.push(whole.slice(Math.floor((i * whole.length) / count), Math.floor(((i + 1) * whole.length) / count)))
    }
    this.#chunks.splice(firstChunk, lastChunk + 1 - firstChunk, ...pieces)
  }

  /** Chunk and place of the first span that ends after `address`. */
  #locate(address: number): [chunk: number, at: number] {
    const chunkAt = lowerBound(this.#chunks.length, (i) => this.#chunks[i]!.at(-1)!.end > address)
    const chunk = this.#chunks[chunkAt]
    if (chunk === undefined) return [chunkAt, 0]
    return [chunkAt, lowerBound(chunk.length, (i) => chunk[i]!.end > address)]
  }
}

/** The first of 0..count-1 for which the monotonic `isPast` holds; count if none. */
function lowerBound(count: number, isPast: (index: number) => boolean): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isPast(middle)) high = middle
    else low = middle + 1
  }
  return low
}

/** Sorted, disjoint ranges out of (start, end, start, end, …). */
function mergeRanges(flat: readonly number[]): { start: number; end: number }[] {
  const sorted = Array.from({ length: flat.length / 2 }, (_, i) => ({ start: flat[2 * i]!, end: flat[2 * i + 1]! }))
  sorted.sort((a, b) => a.start - b.start)
  const merged: typeof sorted = []
  for (const range of sorted) {
    const last = merged.at(-1)
    if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end)
    else merged.push(range)
  }
  return merged
}
