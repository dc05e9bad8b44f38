/**
 * A node of an index, after the kernel's XArray: 64 slots of two words each, 512 bytes, aligned to cache lines.
 *
 * ```
 *   leaf       slot i    word 2i      entry's word             word 2i + 1   entry's generation
 *   interior   slot i    word 2i      number of the child, 0: none
 * ```
 * Node 0 is never given out and stays zero: what leads nowhere leads there, and everything in it is empty.
 */
const SLOT_BITS = 6
const NODE_WORDS_BITS = 7

export const NODE_SLOTS = 1 << SLOT_BITS
const SLOT_MASK = NODE_SLOTS - 1
export const NODE_WORDS = 1 << NODE_WORDS_BITS
export const NODE_BYTES = NODE_WORDS * 4
/** Numbers of nodes are below this: 2^32 words, as many as an array of Node.js 20 can have. They are enough for 120 GiB of pages, each alone in its leaf. */
export const NODES_MAX = 2 ** (32 - NODE_WORDS_BITS)
/** Levels that an index may have: enough for 2^31 pages. */
export const HEIGHT_MAX = 6

/** How far a page index is shifted at the topmost of `height` levels. */
export function topShift(height: number): number {
  return (height - 1) * SLOT_BITS
}

/** The shift of the level below. */
export function nextShift(shift: number): number {
  return shift - SLOT_BITS
}

/** Where in the words of all nodes the slot of `page` is, at the level of `shift`. Unsigned: from node 2^24 on there are more than 2^31 words. */
export function slotAt(node: number, page: number, shift: number): number {
  return ((node << NODE_WORDS_BITS) | (((page >>> shift) & SLOT_MASK) << 1)) >>> 0
}

/** Pages that a slot at the level of `shift` stands for. */
export function slotPages(shift: number): number {
  return 2 ** shift
}
