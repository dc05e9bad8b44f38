/**
 * The ranges that are granted to somebody, or that somebody waits for, in shared memory: so that a worker knows at once which requests it may
 * answer itself. There are few; a request of a file that has none costs one load while there is none at all.
 *
 * ```
 * header  8 words   @0 used        records up to the last that is in use; 0: there are none
 *                   @1 served      1: there is a thread for grants
 * record 12 words   @0 state       FREE → TAKEN → FREE                         written by the grants' thread, all of it
 *                   @1 fs  @2 inoLow  @3 inoHigh   the inode
 *                   @4 flags       who passes: a bit for each {@link TOUCHER}
 *                   @6 start  @8 end   bytes, as floats
 * ```
 * Behind them: the files that attached caches have open ({@link AttendedFiles}).
 *
 * A record is written before its state is. A worker may still see a part of what stood there before: so the thread lets all requests end that
 * were in hand before it relies on a change (see {@link Crew.inHand}). A worker has stored that it is busy, and loaded with order after
 * that, before it looks here; so a plain load will do.
 */
import { type InodeTable, SLOT } from '../inode-table.ts'
import { AttendedFiles } from './attended-files.ts'

const FREE = 0
/** Who opens the file is served by the daemon, and requests that touch the range, where it has one, are handed to the grants' thread, too. */
const TAKEN = 1

/** Who touches a range. What the kernel reads to fill pages that somebody has mapped holds them meanwhile: it does not wait for the holder, only while he publishes. */
export const TOUCHER = { WRITER: 0, READER: 1, MAPPING: 2 } as const
export type Toucher = (typeof TOUCHER)[keyof typeof TOUCHER]

/** Flags: which of them are let pass, by bit. */
const passes = (who: Toucher): number => 1 << who

const HEADER_WORDS = 8
const RECORD_WORDS = 12
const RECORDS_MAX = 1024
const FILES_AT = (HEADER_WORDS + RECORDS_MAX * RECORD_WORDS) * 4
const USED = 0
const SERVED = 1
const STATE = 0
const FS = 1
const INO_LOW = 2
const INO_HIGH = 3
const FLAGS = 4
/** In floats. */
const START = 3
const END = 4

/** What names an inode in the table. */
export interface InodeNumber {
  readonly fs: number
  readonly inoLow: number
  readonly inoHigh: number
}

export class GrantedRanges {
  readonly #words: Int32Array
  readonly #floats: Float64Array
  readonly #attended: AttendedFiles
  readonly #inodes: Pick<InodeTable, 'get'>

  static allocate(): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(FILES_AT + AttendedFiles.WORDS * 4)
    AttendedFiles.begin(new Int32Array(buffer, FILES_AT))
    return buffer
  }

  constructor(buffer: SharedArrayBuffer, inodes: Pick<InodeTable, 'get'>) {
    this.#words = new Int32Array(buffer)
    this.#floats = new Float64Array(buffer)
    this.#attended = new AttendedFiles(new Int32Array(buffer, FILES_AT))
    this.#inodes = inodes
  }

  /** Whether nothing is granted, nor asked for, anywhere. */
  get isEmpty(): boolean {
    return this.#words[USED] === 0
  }

  /** Whether the file in a slot is to be opened through the daemon: a part of it is granted, or about to be, or a cache that gives up what is granted has it open. */
  hasFile(slot: number): boolean {
    const used = this.#words[USED]!
    for (let i = 0; i < used; i++) if (this.#words[at(i) + STATE] !== FREE && this.#isOf(at(i), slot)) return true
    const inodes = this.#inodes
    return this.#attended.has(
      inodes.get(slot, SLOT.FS),
      inodes.get(slot, SLOT.INO_LOW),
      inodes.get(slot, SLOT.INO_HIGH),
    )
  }

  /** Whether there is somebody to hand anything over to. */
  get isServed(): boolean {
    return this.#words[SERVED] !== 0
  }

  /** Whether a request for bytes [start, end) of the file in a slot has to be handed over. */
  concerns(slot: number, start: number, end: number, who: Toucher): boolean {
    const used = this.#words[USED]!
    for (let i = 0; i < used; i++) {
      const record = at(i)
      if (this.#words[record + STATE] === FREE || !this.#isOf(record, slot)) continue
      if (this.#words[record + FLAGS]! & passes(who)) continue
      if (start < this.#floats[record / 2 + END]! && this.#floats[record / 2 + START]! < end) return true
    }
    return false
  }

  // The grants' thread.

  /** A record of bytes [start, end) of an inode, or -1 where there is none left. */
  add(inode: InodeNumber, start: number, end: number): number {
    const i = this.#free()
    if (i < 0) return -1
    const record = at(i)
    this.#words[record + FS] = inode.fs
    this.#words[record + INO_LOW] = inode.inoLow
    this.#words[record + INO_HIGH] = inode.inoHigh
    this.#words[record + FLAGS] = passes(TOUCHER.MAPPING)
    this.#floats[record / 2 + START] = start
    this.#floats[record / 2 + END] = end
    Atomics.store(this.#words, record + STATE, TAKEN)
    if (i >= this.#words[USED]!) Atomics.store(this.#words, USED, i + 1)
    return i
  }

  /** An inode that attached caches have open, and had not until now; false where there is no room. */
  addFile({ fs, inoLow, inoHigh }: InodeNumber): boolean {
    return this.#attended.add(fs, inoLow, inoHigh)
  }

  /** Says who is let pass without being handed over. */
  setPassing(i: number, ...who: readonly Toucher[]): void {
    let flags = 0
    for (const each of who) flags |= passes(each)
    Atomics.store(this.#words, at(i) + FLAGS, flags)
  }

  /** From now on somebody takes what is handed over. */
  setServed(): void {
    Atomics.store(this.#words, SERVED, 1)
  }

  remove(i: number): void {
    Atomics.store(this.#words, at(i) + STATE, FREE)
    let last = this.#words[USED]!
    while (last > 0 && this.#words[at(last - 1) + STATE] === FREE) last--
    Atomics.store(this.#words, USED, last)
  }

  removeFile({ fs, inoLow, inoHigh }: InodeNumber): void {
    this.#attended.remove(fs, inoLow, inoHigh)
  }

  #free(): number {
    for (let i = 0; i < RECORDS_MAX; i++) if (this.#words[at(i) + STATE] === FREE) return i
    return -1
  }

  #isOf(record: number, slot: number): boolean {
    const inodes = this.#inodes
    return (
      this.#words[record + INO_LOW] === inodes.get(slot, SLOT.INO_LOW) &&
      this.#words[record + INO_HIGH] === inodes.get(slot, SLOT.INO_HIGH) &&
      this.#words[record + FS] === inodes.get(slot, SLOT.FS)
    )
  }
}

const at = (i: number): number => HEADER_WORDS + i * RECORD_WORDS
