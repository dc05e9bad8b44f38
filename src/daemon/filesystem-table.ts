/**
 * The file systems and subvolumes seen below the source, each with a number that says all that is to be known of it later:
 *
 * ```
 * number   bits 0 … 23   prefix: keeps inode numbers of different ones apart in the mount, which has only one st_dev to show
 *          bit  24       HANDLES: its files can be opened by handle through the source's mount
 *          bit  25       OF_MOUNT: it is in the source's mount, as subvolumes are; what is crossed into is not
 * ```
 * The inode number that the mount shows has 64 bits: the prefix in the upper 24, the file's own number in the lower 40. The
 * source's own file system has prefix 0, so its numbers are shown as they are, whatever their size. A btrfs subvolume's prefix is its
 * id, which never changes and is never used again; what has no id, or too large a one, gets the next number from 2^23 on.
 *
 * The table, in shared memory, leads from (device, mount) to the number. Inodes keep the number itself, so a record can be used again while the kernel knows inodes of what it was of: by the next subvolume
 * that has the device number of a deleted one, and, where the table is full, in the place of any subvolume whose prefix is its id. Seen again, that gets the same number.
 *
 * ```
 * header  mutex · count · crossed (prefixes from 2^23 on that were given out) · version (odd: a record is being used again) · victim (record that was used again last)
 * record  8 words   devMajor · devMinor · mountIdLow · mountIdHigh · number · subvolumeLow · subvolumeHigh (0: not known) · unused
 * ```
 * Written under the mutex. Looked up without it: a search during which the version has changed counts for nothing.
 */
import type { Statx } from '../linux/statx.ts'
import { SharedMutex } from '../util/shared-mutex.ts'

const RECORD_WORDS = 8
const HEADER_WORDS = 8
const MUTEX = 0
const COUNT = 1
const CROSSED = 2
const VERSION = 3
const VICTIM = 4
const CROSSED_PREFIX = 1 << 23
const PREFIX_MASK = (1 << 24) - 1
const HANDLES = 1 << 24
const OF_MOUNT = 1 << 25
const INO_HIGH_BITS = 8
/** Words of a record. */
const NUMBER = 4
const SUBVOLUME = 5

export class FilesystemTable {
  readonly #words: Int32Array
  readonly #mutex: SharedMutex
  readonly #capacity: number
  /** Index of the record that was found last. */
  #last = 0

  static allocate(capacity: number): SharedArrayBuffer {
    return new SharedArrayBuffer((HEADER_WORDS + capacity * RECORD_WORDS) * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.#mutex = new SharedMutex(this.#words, MUTEX)
    this.#capacity = (this.#words.length - HEADER_WORDS) / RECORD_WORDS
  }

  get count(): number {
    return Atomics.load(this.#words, COUNT)
  }

  /** Number of the source's own file system, which is added first. */
  get source(): number {
    return this.#words[at(0) + NUMBER]!
  }

  /** Number of the file system that `stat` came from, or -1 where the table does not have it. */
  find(stat: Statx): number {
    const version = Atomics.load(this.#words, VERSION)
    const number = this.#numberOf(this.#search(stat))
    if ((version & 1) === 0 && Atomics.load(this.#words, VERSION) === version) return number
    this.#mutex.lock()
    try {
      return this.#numberOf(this.#search(stat))
    } finally {
      this.#mutex.unlock()
    }
  }

  /**
   * Adds the file system of `stat` unless another thread has, in the place of a subvolume that had its device before; returns its number, or -1 where the table is full.
   * `subvolumeId`: of btrfs, else 0. `handles`: whether its files can be opened by handle through the source's mount.
   */
  add(stat: Statx, subvolumeId: number, handles: boolean): number {
    this.#mutex.lock()
    try {
      const known = this.#search(stat)
      if (known >= 0 && this.#mayBeOf(known, subvolumeId)) return this.#numberOf(known)
      const count = this.#words[COUNT]!
      if (known < 0 && count < this.#capacity) {
        this.#fill(count, stat, subvolumeId, handles)
        Atomics.store(this.#words, COUNT, count + 1)
        return this.#numberOf(count)
      }
      const index = known >= 0 ? known : this.#victim()
      if (index < 0) return -1
      Atomics.add(this.#words, VERSION, 1)
      this.#fill(index, stat, subvolumeId, handles)
      Atomics.add(this.#words, VERSION, 1)
      return this.#numberOf(index)
    } finally {
      this.#mutex.unlock()
    }
  }

  /** Whether what has this number may be subvolume `id`: it is not where both ids are known (not 0) and differ. The source's own is not known. */
  isOfSubvolume(number: number, id: number): boolean {
    const prefix = number & PREFIX_MASK
    if (id === 0 || prefix === 0) return true
    if (prefix < CROSSED_PREFIX) return prefix === id
    this.#mutex.lock()
    try {
      // Not there any more: it has been deleted, and another one has its device.
      const index = this.#indexOf(number)
      return index >= 0 && this.#mayBeOf(index, id)
    } finally {
      this.#mutex.unlock()
    }
  }

  /** Number of the source's btrfs subvolume `id`, but of its own, whose id is not kept, or -1: what has no id, and what has too large a one for a prefix and is not in the table. */
  findSubvolume(id: number): number {
    if (id === 0) return -1
    if (id < CROSSED_PREFIX) return id | HANDLES | OF_MOUNT
    this.#mutex.lock()
    try {
      for (let index = 1; index < this.count; index++)
        if (this.#subvolumeOf(index) === id && this.hasHandles(this.#numberOf(index))) return this.#numberOf(index)
      return -1
    } finally {
      this.#mutex.unlock()
    }
  }

  hasHandles(number: number): boolean {
    return (number & HANDLES) !== 0
  }

  /** Whether it is in the source's mount: subvolumes are, what is crossed into is not. */
  isOfMount(number: number): boolean {
    return (number & OF_MOUNT) !== 0
  }

  /** Upper half of the inode number that the mount shows for (`inoLow`, `inoHigh`) of the file system `number`. */
  shownInoHigh(number: number, inoHigh: number): number {
    return (((number & PREFIX_MASK) << INO_HIGH_BITS) ^ inoHigh) >>> 0
  }

  /** Throws, with the record, where the table does not hold together. Only while no other thread works on it. */
  checkInvariants(): void {
    const { count } = this
    if (count > this.#capacity) throw new Error(`file systems: ${count} of ${this.#capacity}`)
    if (this.#words[VERSION]! & 1) throw new Error('file systems: a record is being written')
    const seen = new Set<string>()
    const crossed = new Set<number>()
    for (let index = 0; index < count; index++) {
      const record = this.#words.subarray(at(index), at(index + 1))
      const fail = (what: string) => {
        throw new Error(`file systems: ${index} ${what}: [${record.join(' ')}]`)
      }
      const name = record.subarray(0, NUMBER).join(' ')
      if (seen.has(name)) fail('is in the table twice')
      seen.add(name)
      const prefix = record[NUMBER]! & PREFIX_MASK
      if ((prefix === 0) !== (index === 0)) fail('has the numbers of the source, or the source has not')
      if (prefix < CROSSED_PREFIX) continue
      if (crossed.has(prefix)) fail('has the numbers of another one')
      crossed.add(prefix)
      if (prefix >= CROSSED_PREFIX + this.#words[CROSSED]!) fail('has numbers that were not given out')
    }
  }

  #search(stat: Statx): number {
    const { count } = this
    if (count > 0 && this.#matches(this.#last, stat)) return this.#last
    for (let index = 0; index < count; index++) {
      if (this.#matches(index, stat)) {
        this.#last = index
        return index
      }
    }
    return -1
  }

  #matches(index: number, stat: Statx): boolean {
    const words = this.#words
    const record = at(index)
    return (
      words[record + 1]! >>> 0 === stat.devMinor &&
      words[record]! >>> 0 === stat.devMajor &&
      this.#isIn(index, stat.mountId)
    )
  }

  #isIn(index: number, mountId: number): boolean {
    const record = at(index)
    const low = this.#words[record + 2]! >>> 0
    return low === mountId % 2 ** 32 && this.#words[record + 3] === Math.floor(mountId / 2 ** 32)
  }

  #mayBeOf(index: number, subvolumeId: number): boolean {
    const known = this.#subvolumeOf(index)
    return known === 0 || subvolumeId === 0 || known === subvolumeId
  }

  #numberOf(index: number): number {
    return index < 0 ? -1 : this.#words[at(index) + NUMBER]!
  }

  #subvolumeOf(index: number): number {
    const low = at(index) + SUBVOLUME
    return this.#words[low + 1]! * 2 ** 32 + (this.#words[low]! >>> 0)
  }

  #indexOf(number: number): number {
    const { count } = this
    for (let index = 0; index < count; index++) if (this.#numberOf(index) === number) return index
    return -1
  }

  #fill(index: number, stat: Statx, subvolumeId: number, handles: boolean): void {
    const words = this.#words
    const record = at(index)
    words[record] = stat.devMajor
    words[record + 1] = stat.devMinor
    words[record + 2] = stat.mountId
    words[record + 3] = Math.floor(stat.mountId / 2 ** 32)
    const isOfMount = index === 0 || this.#isIn(0, stat.mountId)
    words[record + NUMBER] = this.#prefix(index, subvolumeId) | (handles ? HANDLES : 0) | (isOfMount ? OF_MOUNT : 0)
    words[record + SUBVOLUME] = subvolumeId
    words[record + SUBVOLUME + 1] = Math.floor(subvolumeId / 2 ** 32)
  }

  #prefix(index: number, subvolumeId: number): number {
    if (index === 0) return 0
    if (subvolumeId > 0 && subvolumeId < CROSSED_PREFIX) return subvolumeId
    return CROSSED_PREFIX + this.#words[CROSSED]!++
  }

  /** The next record, in turn, whose file system would get the same number again, or -1. */
  #victim(): number {
    for (let tries = 1; tries < this.#capacity; tries++) {
      const index = 1 + (this.#words[VICTIM]! % (this.#capacity - 1))
      this.#words[VICTIM] = index
      if ((this.#numberOf(index) & PREFIX_MASK) < CROSSED_PREFIX) return index
    }
    return -1
  }
}

/** Index of the record's first word. */
const at = (index: number): number => HEADER_WORDS + index * RECORD_WORDS
