/**
 * The record of a frame: 16 bytes, one owner, and it never grows. What is new about a page stands in entries.
 *
 * ```
 *   word 0  generation   30 bits; odd while the frame has its page      the keeper, atomically    any reader
 *   word 1  mapping      who owns the page                              the keeper                any reader
 *   word 2  page         and where in the owner it is                   the keeper                any reader
 *   word 3  age          0 … AGE_MAX: reads since the policy looked     any reader, carelessly    the keeper
 * ```
 * It is bumped when the page is there, and when it is given up. Entries name odd generations only, and the owner changes only while it is even. So a reader who finds the generation of its entry, before and after,
 * knows that owner and bytes were those of that generation all the while.
 */
const RECORD_WORDS_BITS = 2

export const FRAME_RECORD_BYTES = 4 << RECORD_WORDS_BITS
export const FRAME = { GENERATION: 0, MAPPING: 1, PAGE: 2, AGE: 3 } as const
export const AGE_MAX = 3
const GENERATION_MASK = 2 ** 30 - 1

export function frameAt(frame: number): number {
  return frame << RECORD_WORDS_BITS
}

export function nextGeneration(generation: number): number {
  return (generation + 1) & GENERATION_MASK
}
