/**
 * Extents: which runs of a file lie where on its file system, as parallel typed arrays.
 *
 * This file is data only. {@link ../storage/read-extents.ts} fills a list from a real file, the simulator from a simulated one.
 */

/** What a file system says about an extent; the bits of FIEMAP_EXTENT_*. */
export const ExtentFlag = {
  /** The file has no extent after this one. Never kept in a list: it would hinder merging. */
  LAST: 0x1,
  /** The data's place is not known. */
  UNKNOWN: 0x2,
  /** The data has no place yet. */
  DELALLOC: 0x4,
  /** The bytes on the device are not the file's bytes: compressed, for one. */
  ENCODED: 0x8,
  DATA_ENCRYPTED: 0x80,
  /** Begins or ends inside a block. */
  NOT_ALIGNED: 0x100,
  /** The data lies among metadata. */
  INLINE: 0x200,
  /** The block holds tails of several files. */
  DATA_TAIL: 0x400,
  /** Allocated, never written: reads as zeros, whatever the blocks hold. */
  UNWRITTEN: 0x800,
  /** Reported as one for brevity by a file system that keeps no extents. */
  MERGED: 0x1000,
  /** Other files, or other places of this file, refer to the same blocks. */
  SHARED: 0x2000,
} as const

/** The physical offset of such an extent does not say where its bytes are. */
const UNADDRESSABLE =
  ExtentFlag.UNKNOWN |
  ExtentFlag.DELALLOC |
  ExtentFlag.ENCODED |
  ExtentFlag.DATA_ENCRYPTED |
  ExtentFlag.NOT_ALIGNED |
  ExtentFlag.INLINE |
  ExtentFlag.DATA_TAIL

const NOT_SHAREABLE = UNADDRESSABLE | ExtentFlag.UNWRITTEN

/** May equality of bytes be concluded from equality of physical offsets, and does anybody else refer to them? */
export function isShareable(flags: number): boolean {
  return (flags & (ExtentFlag.SHARED | NOT_SHAREABLE)) === ExtentFlag.SHARED
}

/** Is `physical` the place of the extent's first byte, and physical + n that of its n-th? */
export function isAddressable(flags: number): boolean {
  return (flags & UNADDRESSABLE) === 0
}

/** Names of the flags that are set, for people: `SHARED|UNWRITTEN`. */
export function extentFlagNames(flags: number): string {
  const names = Object.entries(ExtentFlag).filter(([, bit]) => (flags & bit) !== 0)
  return names.length === 0 ? '-' : names.map(([name]) => name).join('|')
}

/** One extent as an object: for tests and printing. */
export interface Extent {
  logical: number
  physical: number
  length: number
  flags: number
}

const CAPACITY_MIN = 16

/**
 * A growable list of extents in file order; all offsets and lengths in bytes. Holes are what lies between extents.
 *
 * Invariants (restated by {@link check}):
 * - every length is positive, and extents neither overlap nor go backwards;
 * - no extent continues its predecessor in file, on the device and in flags: it would be one extent;
 * - LAST is never set.
 *
 * Reuse one with {@link clear}: the arrays stay. They are replaced only when the list grows, so do not hold on to them.
 */
export class ExtentList {
  count = 0
  logical: Float64Array
  physical: Float64Array
  length: Float64Array
  flags: Uint32Array

  constructor(capacity = CAPACITY_MIN) {
    const size = Math.max(capacity, CAPACITY_MIN)
    this.logical = new Float64Array(size)
    this.physical = new Float64Array(size)
    this.length = new Float64Array(size)
    this.flags = new Uint32Array(size)
  }

  static from(extents: Iterable<Extent>): ExtentList {
    const list = new ExtentList()
    for (const { logical, physical, length, flags } of extents) list.append(logical, physical, length, flags)
    return list
  }

  clear(): void {
    this.count = 0
  }

  /**
   * Adds an extent after all others, merging it with the last where the one continues the other. An extent of no
   * length is passed over. Throws if it does not come after the last.
   */
  append(logical: number, physical: number, length: number, flags: number): void {
    if (length <= 0) return
    const kept = (flags & ~ExtentFlag.LAST) >>> 0
    const last = this.count - 1
    if (last >= 0) {
      const end = this.logical[last]! + this.length[last]!
      if (logical < end) throw new RangeError(`extent at ${logical} begins before ${end}, the end of its predecessor`)
      if (
        logical === end &&
        kept === this.flags[last] &&
        isAddressable(kept) &&
        physical === this.physical[last]! + this.length[last]!
      ) {
        this.length[last] = this.length[last]! + length
        return
      }
    }
    if (this.count === this.flags.length) this.#grow()
    this.logical[this.count] = logical
    this.physical[this.count] = physical
    this.length[this.count] = length
    this.flags[this.count] = kept
    this.count++
  }

  /** {@link append} of the part of an extent that lies in the file range [start, end). */
  appendClipped(logical: number, physical: number, length: number, flags: number, start: number, end: number): void {
    const from = Math.max(logical, start)
    const to = Math.min(logical + length, end)
    // Within a compressed extent a device offset cannot be advanced: it stays that of the whole.
    this.append(from, isAddressable(flags) ? physical + (from - logical) : physical, to - from, flags)
  }

  /** The file offset after extent `index`. */
  end(index: number): number {
    return this.logical[index]! + this.length[index]!
  }

  /** The first extent that ends after the file offset `offset` (it holds the offset, or a hole does and it comes next); `count` if none. */
  indexAt(offset: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.logical[middle]! + this.length[middle]! <= offset) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Bytes in extents of which {@link isShareable} holds. */
  shareableBytes(): number {
    let bytes = 0
    for (let i = 0; i < this.count; i++) if (isShareable(this.flags[i]!)) bytes += this.length[i]!
    return bytes
  }

  /** Bytes in extents that are shared but do not lie on the device as they are read: compressed. */
  sharedEncodedBytes(): number {
    const wanted = ExtentFlag.SHARED | ExtentFlag.ENCODED
    let bytes = 0
    for (let i = 0; i < this.count; i++) if ((this.flags[i]! & wanted) === wanted) bytes += this.length[i]!
    return bytes
  }

  /** The same extents with the same flags? */
  equals(other: ExtentList): boolean {
    if (this.count !== other.count) return false
    for (let i = 0; i < this.count; i++) {
      if (
        this.logical[i] !== other.logical[i] ||
        this.physical[i] !== other.physical[i] ||
        this.length[i] !== other.length[i] ||
        this.flags[i] !== other.flags[i]
      )
        return false
    }
    return true
  }

  /** Bytes that were ever written: no holes, and nothing that is only allocated. */
  writtenBytes(): number {
    let bytes = 0
    for (let i = 0; i < this.count; i++) if ((this.flags[i]! & ExtentFlag.UNWRITTEN) === 0) bytes += this.length[i]!
    return bytes
  }

  toArray(): Extent[] {
    return Array.from({ length: this.count }, (_, i) => ({
      logical: this.logical[i]!,
      physical: this.physical[i]!,
      length: this.length[i]!,
      flags: this.flags[i]!,
    }))
  }

  /** One line an extent, for people. */
  toString(): string {
    return this.toArray()
      .map((e) => `${e.logical}+${e.length} → ${e.physical} ${extentFlagNames(e.flags)}`)
      .join('\n')
  }

  /** Throws, with the list printed, if an invariant does not hold. */
  check(): void {
    for (let i = 0; i < this.count; i++) {
      const wrong =
        !(this.length[i]! > 0) ||
        (this.flags[i]! & ExtentFlag.LAST) !== 0 ||
        (i > 0 && this.logical[i]! < this.end(i - 1)) ||
        (i > 0 && this.#continues(i))
      if (wrong) throw new Error(`extent ${i} breaks the list:\n${this}`)
    }
  }

  #continues(index: number): boolean {
    const before = index - 1
    return (
      this.logical[index] === this.end(before) &&
      this.flags[index] === this.flags[before] &&
      isAddressable(this.flags[index]!) &&
      this.physical[index] === this.physical[before]! + this.length[before]!
    )
  }

  #grow(): void {
    const size = this.flags.length * 2
    this.logical = copyInto(new Float64Array(size), this.logical)
    this.physical = copyInto(new Float64Array(size), this.physical)
    this.length = copyInto(new Float64Array(size), this.length)
    this.flags = copyInto(new Uint32Array(size), this.flags)
  }
}

function copyInto<T extends Float64Array | Uint32Array>(to: T, from: T): T {
  to.set(from)
  return to
}
