/**
 * Files that were open a moment ago are often opened again. Such a file stays *warm*: a descriptor for reading and a backing id are kept of it,
 * so that the next open needs only a look at it. Nothing else changes: what the look finds has to be what was decided on, as ever.
 *
 * ```
 * header  ticks      times that the keeper has swept
 * cells   slot + 1   who is warm; 0: nobody         under that slot's lock
 *         tick       when it was opened last        any thread
 * ```
 * A slot has one cell that it can take, and stays cold where another has it: so their number is bounded, and nobody has to make room.
 *
 * Invariants, under the slot's lock: SLOT.WARM > 0 exactly where the slot has its cell; then SLOT.BACKING > 0, with nobody having the file open, too.
 * The descriptor is used and taken under that lock only. A file that others have deleted keeps its space while it is warm, for
 * at most {@link WARM_MS}; deleted through the mount, until the kernel forgets it, which it does at once.
 */
import { close, closeAsync } from '../linux/file.ts'
import { backingClose } from '../linux/fuse-device.ts'
import { type InodeTable, SLOT } from './inode-table.ts'

/** For so long a file is warm at the most when nobody opens it. */
const WARM_MS = 1000
/** The keeper sweeps that often: what was not opened since the last sweep but one goes. */
export const WARM_SWEEP_MS = WARM_MS / 2

/** A prime: slots that are known one after the other, or every other one, get different cells. */
const CELLS_MAX = 1021
/** The part of all descriptors that they may take. */
const DESCRIPTORS_PART = 1 / 16

const HEADER_WORDS = 1
const CELL_WORDS = 2

export class WarmFiles {
  readonly #words: Int32Array
  readonly #inodes: InodeTable
  readonly #fuseFd: number
  readonly #cells: number

  /** `descriptorsLimit`: how many descriptors the process may have. */
  static allocate(descriptorsLimit: number): SharedArrayBuffer {
    const cells = Math.min(CELLS_MAX, Math.max(1, Math.floor(descriptorsLimit * DESCRIPTORS_PART)))
    return new SharedArrayBuffer((HEADER_WORDS + cells * CELL_WORDS) * 4)
  }

  /** `fuseFd`: any descriptor of the connection. */
  constructor(buffer: SharedArrayBuffer, inodes: InodeTable, fuseFd: number) {
    this.#words = new Int32Array(buffer)
    this.#inodes = inodes
    this.#fuseFd = fuseFd
    this.#cells = (this.#words.length - HEADER_WORDS) / CELL_WORDS
  }

  /** Under the slot's lock: a descriptor for reading of its file, for as long as the lock is held; -1 where it is cold. */
  descriptor(slot: number): number {
    return this.#inodes.get(slot, SLOT.WARM) - 1
  }

  /** Under the slot's lock, of a warm file: it is being opened. */
  touch(slot: number): void {
    this.#words[this.#at(slot) + 1] = this.#words[0]!
  }

  /**
   * Under the slot's lock, of a cold file that is open and has a backing id: takes `fd`, open for reading on it, and keeps both. False where another
   * file has the cell: then `fd` stays the caller's.
   */
  keep(slot: number, fd: number): boolean {
    if (Atomics.compareExchange(this.#words, this.#at(slot), 0, slot + 1) !== 0) return false
    this.#inodes.set(slot, SLOT.WARM, fd + 1)
    this.touch(slot)
    return true
  }

  /** Gives back what is kept of the slot's file, but for the backing id of one that is open. Any thread that may block, without the slot's lock. */
  cool(slot: number): void {
    if (this.#inodes.get(slot, SLOT.WARM) === 0) return
    const lock = this.#inodes.lockOf(slot)
    let fd: number
    lock.lock()
    try {
      fd = this.#take(slot)
    } finally {
      lock.unlock()
    }
    if (fd >= 0) close(fd)
  }

  /** Under the slot's lock: the same, of a file that nobody has open. */
  drop(slot: number): void {
    const fd = this.#take(slot)
    if (fd >= 0) close(fd)
  }

  /** The keeper, every {@link WARM_SWEEP_MS}: cools what has not been opened lately. */
  async sweep(): Promise<void> {
    const now = Atomics.add(this.#words, 0, 1) + 1
    await this.#coolWhere((tick) => now - tick > 1)
  }

  /** The keeper, for want of space: cools all. */
  async coolAll(): Promise<void> {
    await this.#coolWhere(() => true)
  }

  /**
   * Waits for nobody: who has a slot's lock may be looking at a file that does not answer. Closes on the libuv pool, for the last descriptor of
   * a deleted file frees its space, which may take long.
   */
  async #coolWhere(isDue: (tick: number) => boolean): Promise<void> {
    for (let cell = 0; cell < this.#cells; cell++) {
      const at = HEADER_WORDS + cell * CELL_WORDS
      const slot = Atomics.load(this.#words, at) - 1
      if (slot < 0 || !isDue(this.#words[at + 1]!)) continue
      const lock = this.#inodes.lockOf(slot)
      if (!lock.tryLock()) continue
      let fd: number
      try {
        // Another inode may have the slot by now: then that one is cooled too early, which harms nobody.
        fd = this.#take(slot)
      } finally {
        lock.unlock()
      }
      // One after the other: not all that many calls can be on the pool at once. What closing for reading fails with means nothing.
      if (fd >= 0) await closeAsync(fd).catch(() => {})
    }
  }

  /** Under the slot's lock: gives the backing id back, of a file that nobody has open, and the cell. The descriptor, to be closed, or -1. */
  #take(slot: number): number {
    const inodes = this.#inodes
    const fd = this.descriptor(slot)
    if (fd < 0) return -1
    inodes.set(slot, SLOT.WARM, 0)
    Atomics.store(this.#words, this.#at(slot), 0)
    if (inodes.get(slot, SLOT.OPENS) === 0) {
      backingClose(this.#fuseFd, inodes.get(slot, SLOT.BACKING))
      inodes.set(slot, SLOT.BACKING, 0)
    }
    return fd
  }

  #at(slot: number): number {
    return HEADER_WORDS + (slot % this.#cells) * CELL_WORDS
  }
}
