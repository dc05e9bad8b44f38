/** What is written, and short names for what is read. */

const PAGE = 4096

/**
 * Fills `target` with the bytes that stamp `stamp` puts at file offset `offset`. Two files with the same stamp hold
 * the same bytes at the same offsets, so that they can be deduplicated; no two offsets look alike.
 */
export function fill(target: Uint8Array, stamp: number, offset: number): void {
  const seed = Math.imul(stamp + 1, 0x9e37_79b1)
  for (let i = 0; i < target.length; i++) {
    const at = offset + i
    if ((at & 3) === 0 && i + 4 <= target.length) {
      const word = mix(seed ^ (at >>> 2))
      target[i] = word
      target[i + 1] = word >>> 8
      target[i + 2] = word >>> 16
      target[i + 3] = word >>> 24
      i += 3
    } else target[i] = mix(seed ^ (at >>> 2)) >>> ((at & 3) * 8)
  }
}

function mix(word: number): number {
  const mixed = Math.imul(word ^ (word >>> 15), 0x85eb_ca6b)
  return mixed ^ (mixed >>> 13)
}

/** A hash of each page's part of `bytes`, which begin at file offset `offset`; `0` where all is zero. */
export function pageHashes(bytes: Buffer, offset: number): string[] {
  const hashes: string[] = []
  for (let from = 0; from < bytes.length; ) {
    const to = Math.min(bytes.length, from + PAGE - ((offset + from) % PAGE))
    hashes.push(hash(bytes, from, to).toString(36))
    from = to
  }
  return hashes
}

function hash(bytes: Buffer, from: number, to: number): number {
  let state = 0
  let seen = 0
  let i = from
  for (; i + 4 <= to; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    seen |= word
    state = Math.imul(state ^ word, 0x9e37_79b1)
    state ^= state >>> 15
  }
  for (; i < to; i++) {
    seen |= bytes[i]!
    state = Math.imul(state ^ bytes[i]!, 0x85eb_ca6b)
    state ^= state >>> 13
  }
  return seen === 0 ? 0 : (state >>> 0) + 1
}
