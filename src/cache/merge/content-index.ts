/**
 * The content index: which frames hold a page with a given hash.
 *
 * A table of chains, by arrays with a place for each frame. So it takes 12 bytes a frame and 2 to 4 for the heads, however many pages come and go, and a frame is in it
 * once at most. Nothing is allocated after the construction.
 *
 * ```
 *   heads[hash & mask]   a frame, plus one; 0: none
 *   next[frame]          the next frame of its chain, plus one; LAST at the chain's end; 0: the frame is not in the index
 *   hashes[frame]        of its page, and of its domain
 *   domains[frame]       pages of another domain are never found
 * ```
 * The domain goes into the hash, under a secret: how long a look-up takes in one domain does not depend on what is in another.
 *
 * Invariants (restated by {@link ContentIndex.checkInvariants}): each frame that is in the index is in the chain of its hash, once; `size` frames are.
 *
 * Pure. Context: the keeper's thread.
 */
const LAST = -1

/** A chain is as long as there are pages of the same hash. Beyond that many, which only a bad hash gives, a page is taken to be without a mate. */
const COMPARED_MAX = 16

export class ContentIndex {
  readonly #heads: Int32Array
  readonly #next: Int32Array
  readonly #hashes: Int32Array
  readonly #domains: Int32Array
  readonly #secret: number
  #size = 0

  /** `secret`: 32 bits that nobody can guess. */
  constructor(frames: number, secret: number) {
    this.#heads = new Int32Array(2 ** Math.floor(Math.log2(frames)))
    this.#next = new Int32Array(frames)
    this.#hashes = new Int32Array(frames)
    this.#domains = new Int32Array(frames)
    this.#secret = secret
  }

  /** Frames that are in it. */
  get size(): number {
    return this.#size
  }

  /** What all of it takes. */
  get bytes(): number {
    return this.#heads.byteLength + this.#next.byteLength + this.#hashes.byteLength + this.#domains.byteLength
  }

  has(frame: number): boolean {
    return this.#next[frame] !== 0
  }

  domainOf(frame: number): number {
    return this.#domains[frame]!
  }

  /** `frame`, which is not in the index, holds a page with that hash, of 32 bits. */
  add(frame: number, hash: number, domain: number): void {
    const key = this.#keyOf(hash, domain)
    const head = key & (this.#heads.length - 1)
    this.#hashes[frame] = key
    this.#domains[frame] = domain
    this.#next[frame] = this.#heads[head] === 0 ? LAST : this.#heads[head]!
    this.#heads[head] = frame + 1
    this.#size++
  }

  /** The frame holds that page no longer. */
  remove(frame: number): void {
    if (!this.has(frame)) return
    const head = this.#hashes[frame]! & (this.#heads.length - 1)
    const next = this.#next[frame]!
    let at = this.#heads[head]! - 1
    if (at === frame) this.#heads[head] = next === LAST ? 0 : next
    else {
      while (this.#next[at] !== frame + 1) at = this.#next[at]! - 1
      this.#next[at] = next
    }
    this.#next[frame] = 0
    this.#size--
  }

  /** The first frame of that hash and domain for which `isEqual` says that it is the one; -1: there is none. */
  find(hash: number, domain: number, isEqual: (frame: number) => boolean): number {
    const key = this.#keyOf(hash, domain)
    let compared = 0
    for (let at = this.#heads[key & (this.#heads.length - 1)]!; at > 0; at = this.#next[at - 1]!) {
      const frame = at - 1
      if (this.#hashes[frame] !== key || this.#domains[frame] !== domain) continue
      if (isEqual(frame)) return frame
      if (++compared === COMPARED_MAX) break
    }
    return -1
  }

  checkInvariants(): void {
    const seen = new Set<number>()
    for (let head = 0; head < this.#heads.length; head++)
      for (let at = this.#heads[head]!; at !== 0 && at !== LAST; at = this.#next[at - 1]!) {
        const frame = at - 1
        if (seen.has(frame)) throw new Error(`frame ${frame} is in the content index twice`)
        seen.add(frame)
        if ((this.#hashes[frame]! & (this.#heads.length - 1)) !== head)
          throw new Error(`frame ${frame} is in another's chain`)
      }
    const marked = this.#next.reduce((sum, next) => sum + (next === 0 ? 0 : 1), 0)
    if (seen.size !== this.#size || marked !== this.#size)
      throw new Error(`${seen.size} frames are found in the content index, ${marked} marked, ${this.#size} counted`)
  }

  /** Murmur3's last step, over hash, domain and secret. */
  #keyOf(hash: number, domain: number): number {
    let key = hash ^ Math.imul(domain ^ this.#secret, 0x9e37_79b1)
    key = Math.imul(key ^ (key >>> 16), 0x85eb_ca6b)
    key = Math.imul(key ^ (key >>> 13), 0xc2b2_ae35)
    return key ^ (key >>> 16)
  }
}
