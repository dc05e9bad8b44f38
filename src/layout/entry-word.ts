/**
 * An entry of a mapping: two Int32 words, the first of which says all but when.
 *
 * ```
 *   word        bits 0–3    kind, see ENTRY_KINDS in cache/entry.ts; 0: empty
 *               bits 4–31   value: page, shared, replicated: the frame's number · shadow: the stamp of the reclaim policy · zero, exclusive: nothing
 *                           direct: number of the device's page, modulo 2^28
 *   generation  bits 0–29   page, shared, replicated: the frame's generation when the entry was minted · direct: the number's upper bits
 * ```
 * Two words tear: whoever reads them may get the word of one entry and the generation of another. So they are written empty → generation →
 * word, and what was read counts only when the frame's record agrees with it (see frame-record.ts).
 */
const KIND_BITS = 4
const KIND_MASK = (1 << KIND_BITS) - 1

/** Values are below this: 2^28 frames are 1 TiB. */
export const ENTRY_VALUES = 2 ** (32 - KIND_BITS)

export function makeEntry(kind: number, value: number): number {
  return (value << KIND_BITS) | kind
}

export function entryKind(word: number): number {
  return word & KIND_MASK
}

export function entryValue(word: number): number {
  return word >>> KIND_BITS
}

/** The second word of a direct entry for page `number` of a device; the value of the first is what is left of it. */
export function directHigh(number: number): number {
  return Math.floor(number / ENTRY_VALUES)
}

/** The number of the device's page that a direct entry names. */
export function directNumber(word: number, high: number): number {
  return high * ENTRY_VALUES + entryValue(word)
}
