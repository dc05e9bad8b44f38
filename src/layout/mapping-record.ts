/**
 * The record of a mapping: where its index begins, and how long what it maps is. 64 bytes.
 *
 * ```
 *   word 0  root       bits 0–3 levels, bits 4–31 number of the topmost node: one word, so that they fit each other
 *   word 1  end page   whole pages of the file, as far as an index reaches
 *   word 2  size       in bytes: the lower 32 bits
 *   word 3             and the upper ones
 *   word 4  version    of words 1 to 3; odd while they change
 *   word 5  layout     bumped when who has the file open must ask how it is served
 *   word 6  exclusion  by two when pages become somebody's exclusively; odd while some are being published
 *   word 7  from       the pages that are being published
 *   word 8  to
 * ```
 * Written by the keeper, read by anybody.
 */
const RECORD_WORDS_BITS = 4
const HEIGHT_BITS = 4

export const MAPPING_RECORD_BYTES = 4 << RECORD_WORDS_BITS
export const MAPPING = {
  ROOT: 0,
  END_PAGE: 1,
  SIZE_LOW: 2,
  SIZE_HIGH: 3,
  VERSION: 4,
  LAYOUT: 5,
  EXCLUSION: 6,
  PUBLISH_FROM: 7,
  PUBLISH_TO: 8,
} as const
/** Numbers of mappings are below this: their words are counted in 31 bits. */
export const MAPPINGS_MAX = 2 ** (31 - RECORD_WORDS_BITS)
/** Page indexes are below this: 8 TiB. What lies behind is read past the cache. */
export const PAGES_MAX = 2 ** 31

export function mappingAt(mapping: number): number {
  return mapping << RECORD_WORDS_BITS
}

export function makeRoot(node: number, height: number): number {
  return (node << HEIGHT_BITS) | height
}

export function rootNode(root: number): number {
  return root >>> HEIGHT_BITS
}

export function rootHeight(root: number): number {
  return root & ((1 << HEIGHT_BITS) - 1)
}
