/**
 * What the writer of the reset test writes, and what may be found of it: a function of the seed alone, so that who looks after the reset knows it.
 *
 * A file of slots, each of which is written over and over, and a file that grows by a record each time. A *version* is a write: its bytes are words of 8 that name it and their place in the file. Slots begin and end anywhere in a
 * word, and in a page.
 */
import { Random } from '../../support/random.ts'

export const SLOTS = 64
export const SLOT_BYTES = 3001
export const RECORD_BYTES = 777
export const SLOTS_BYTES = SLOTS * SLOT_BYTES
const WORD = 8
/** Versions of a batch, at most. */
const WRITES_MAX = 24

export interface SlotWrite {
  readonly slot: number
  readonly version: number
}

/** The writes of a batch, all under way at a time, later ones on top: runs of neighbours, so that some are combined, and slots that are written twice. */
export function batchOf(seed: number, batch: number): SlotWrite[] {
  const random = new Random(seed + batch * 7919)
  const writes: SlotWrite[] = []
  let slot = random.below(SLOTS)
  for (let i = random.between(1, WRITES_MAX); i > 0; i--) {
    writes.push({ slot, version: batch * WRITES_MAX + writes.length + 1 })
    slot = random.below(3) === 0 ? random.below(SLOTS) : (slot + 1) % SLOTS
  }
  return writes
}

/** Whether the files are synced after a batch. */
export function isSynced(seed: number, batch: number): boolean {
  return new Random(seed ^ (batch * 104_729)).below(3) === 0
}

/** Bytes [from, to) of a file, as `version` has them. */
export function contentOf(seed: number, version: number, from: number, to: number): Buffer {
  const first = Math.floor(from / WORD)
  const bytes = Buffer.alloc((Math.ceil(to / WORD) - first) * WORD)
  for (let at = 0; at < bytes.length; at += WORD) {
    const word = first + at / WORD
    bytes.writeUInt32LE(version, at)
    bytes.writeUInt32LE((Math.imul(word + 1, 0x9e3779b1) ^ Math.imul(version + seed, 0x85ebca6b)) >>> 0, at + 4)
  }
  return bytes.subarray(from - first * WORD, to - first * WORD)
}

/** What was found of slots. */
export interface Found {
  /** Slots that have something that was not synced. */
  newer: number
  /** Of those, the ones that are parts of several versions. */
  torn: number
}

/**
 * Looks at the bytes of the file of slots. `synced`: the last batch that was, -1 for none; version 0 is what was there at first. Each byte must be of the version that was synced last or of a later one, and so
 * must each aligned word of 8 bytes that lies in one slot, as a whole. Throws where one is not.
 */
export function checkSlots(seed: number, synced: number, bytes: Buffer, batches: number): Found {
  const allowed = Array.from({ length: SLOTS }, () => [0])
  for (let batch = 0; batch < synced + batches; batch++)
    for (const { slot, version } of batchOf(seed, batch))
      if (batch <= synced) allowed[slot] = [version]
      else allowed[slot]!.push(version)
  const found: Found = { newer: 0, torn: 0 }
  for (let slot = 0; slot < SLOTS; slot++) {
    const start = slot * SLOT_BYTES
    const end = start + SLOT_BYTES
    const versions = new Set<number>()
    for (let at = start; at < end; ) {
      const to = at % WORD === 0 && at + WORD <= end ? at + WORD : at + 1
      const here = bytes.subarray(at, to)
      const version = allowed[slot]!.find((it) => contentOf(seed, it, at, to).equals(here))
      if (version === undefined)
        throw new Error(
          `byte ${at} (slot ${slot}, page ${Math.floor(at / 4096)}): ${here.toString('hex')} is of none of the versions ${allowed[slot]!.slice(0, 5)}…`,
        )
      // Of a single byte several versions may be the owner.
      if (to - at === WORD) versions.add(version)
      at = to
    }
    if ([...versions].some((version) => version !== allowed[slot]![0])) found.newer++
    if (versions.size > 1) found.torn++
  }
  return found
}

/** The same of the file of records, of which batch n wrote the n-th: behind what was synced each byte is what was to be there, or zero. Returns how many bytes of it are there. */
export function checkRecords(seed: number, synced: number, bytes: Buffer): number {
  const sure = (synced + 1) * RECORD_BYTES
  if (bytes.length < sure) throw new Error(`${bytes.length} bytes of records are there, ${sure} were synced`)
  let there = 0
  for (let batch = 0; batch * RECORD_BYTES < bytes.length; batch++) {
    const from = batch * RECORD_BYTES
    const wanted = contentOf(seed, batch, from, from + RECORD_BYTES)
    for (let i = 0; i < RECORD_BYTES && from + i < bytes.length; i++) {
      const byte = bytes[from + i]!
      if (byte === wanted[i]) there++
      else if (batch <= synced || byte !== 0)
        throw new Error(`byte ${from + i} of the records, of batch ${batch}: ${byte}, not ${wanted[i]}`)
    }
  }
  return there - sure
}
