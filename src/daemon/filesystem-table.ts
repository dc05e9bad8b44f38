/**
 * The file systems and subvolumes seen below the source, in shared memory: each (device, mount) gets an index, and a
 * prefix that keeps inode numbers of different ones apart in the mount, which has only one st_dev to show.
 *
 * The shown number has 64 bits: the prefix in the upper 24, the file's own number in the lower 40. The
 * source's own file system has prefix 0, so its numbers are shown as they are, whatever their size. A btrfs subvolume's prefix is its
 * id, which never changes and is never used again; a file system crossed into gets the next number from 2^23 on.
 *
 * The device number of a subvolume is used again once that is deleted. Who sees by a handle that a record's is another one's now
 * replaces it: the record stays, for inodes that are known by it, and is not found by its device any more.
 *
 * ```
 * record: 8 words   devMajor · devMinor (-1: replaced) · mountIdLow · mountIdHigh · prefix · handles (1: open_by_handle works) · subvolumeLow · subvolumeHigh
 * ```
 */
import type { Statx } from '../linux/statx.ts'
import { SharedMutex } from '../util/shared-mutex.ts'

const RECORD_WORDS = 8
const HEADER_WORDS = 8
const MUTEX = 0
const COUNT = 1
const CROSSED = 2
const CROSSED_PREFIX = 1 << 23
const INO_HIGH_BITS = 8
/** No device has this minor number. */
const REPLACED = -1

export class FilesystemTable {
  readonly #words: Int32Array
  readonly #mutex: SharedMutex
  readonly #capacity: number
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

  /** Index of the file system that `stat` came from, or -1 where it has not been seen. */
  find(stat: Statx): number {
    if (this.count > 0 && this.#matches(this.#last, stat)) return this.#last
    const count = this.count
    for (let index = 0; index < count; index++) {
      if (this.#matches(index, stat)) {
        this.#last = index
        return index
      }
    }
    return -1
  }

  /**
   * Adds the file system of `stat` unless another thread has, in the place of a subvolume that had its device before; returns its index, or -1 where the table is full.
   * `subvolumeId`: of btrfs, else 0. `handles`: whether its files can be opened by handle through the source's mount.
   */
  add(stat: Statx, subvolumeId: number, handles: boolean): number {
    this.#mutex.lock()
    try {
      const known = this.find(stat)
      if (known >= 0 && this.isOfSubvolume(known, subvolumeId)) return known
      const index = this.#words[COUNT]!
      if (index === this.#capacity) return -1
      if (known >= 0) this.#words[HEADER_WORDS + known * RECORD_WORDS + 1] = REPLACED
      const at = HEADER_WORDS + index * RECORD_WORDS
      this.#words[at] = stat.devMajor
      this.#words[at + 1] = stat.devMinor
      this.#words[at + 2] = stat.mountId
      this.#words[at + 3] = Math.floor(stat.mountId / 2 ** 32)
      this.#words[at + 4] = this.#prefix(index, subvolumeId)
      this.#words[at + 5] = handles ? 1 : 0
      this.#words[at + 6] = subvolumeId
      this.#words[at + 7] = Math.floor(subvolumeId / 2 ** 32)
      Atomics.store(this.#words, COUNT, index + 1)
      return index
    } finally {
      this.#mutex.unlock()
    }
  }

  /** Whether the record may be that of subvolume `id`: it is not where both ids are known (not 0) and differ. */
  isOfSubvolume(index: number, id: number): boolean {
    const at = HEADER_WORDS + index * RECORD_WORDS
    const low = this.#words[at + 6]! >>> 0
    const high = this.#words[at + 7]!
    return id === 0 || (low === 0 && high === 0) || high * 2 ** 32 + low === id
  }

  /** Index of the source's btrfs subvolume `id`, or -1 where it has not been seen, or is the source's own, whose id is not kept. */
  findSubvolume(id: number): number {
    const count = this.count
    for (let index = 1; index < count; index++)
      if (this.#words[HEADER_WORDS + index * RECORD_WORDS + 4] === id && this.hasHandles(index)) return index
    return -1
  }

  hasHandles(index: number): boolean {
    return this.#words[HEADER_WORDS + index * RECORD_WORDS + 5] === 1
  }

  /** Whether the file system is the source's own, as far as the mount tells: subvolumes are, what is crossed into is not. */
  isOfMount(index: number, mountId: number): boolean {
    const at = HEADER_WORDS + index * RECORD_WORDS
    return this.#words[at + 2]! >>> 0 === mountId % 2 ** 32 && this.#words[at + 3] === Math.floor(mountId / 2 ** 32)
  }

  /** Upper half of the inode number that the mount shows for (`inoLow`, `inoHigh`) of file system `index`. */
  shownInoHigh(index: number, inoHigh: number): number {
    const prefix = this.#words[HEADER_WORDS + index * RECORD_WORDS + 4]!
    return ((prefix << INO_HIGH_BITS) ^ inoHigh) >>> 0
  }

  /** Throws, with the record, where the table does not hold together. Only while no other thread works on it. */
  checkInvariants(): void {
    const { count } = this
    if (count > this.#capacity) throw new Error(`file systems: ${count} of ${this.#capacity}`)
    const seen = new Set<string>()
    const crossed = new Set<number>()
    for (let index = 0; index < count; index++) {
      const at = HEADER_WORDS + index * RECORD_WORDS
      const record = this.#words.subarray(at, at + RECORD_WORDS)
      const fail = (what: string) => {
        throw new Error(`file systems: ${index} ${what}: [${record.join(' ')}]`)
      }
      const name = record.subarray(0, 4).join(' ')
      if (record[1] !== REPLACED && seen.has(name)) fail('is in the table twice')
      seen.add(name)
      const prefix = record[4]!
      if ((prefix === 0) !== (index === 0)) fail('has the numbers of the source, or the source has not')
      if (prefix < CROSSED_PREFIX) continue
      if (crossed.has(prefix)) fail('has the numbers of another one')
      crossed.add(prefix)
      if (prefix >= CROSSED_PREFIX + this.#words[CROSSED]!) fail('has numbers that were not given out')
    }
  }

  #prefix(index: number, subvolumeId: number): number {
    if (index === 0) return 0
    if (subvolumeId > 0 && subvolumeId < CROSSED_PREFIX) return subvolumeId
    return CROSSED_PREFIX + this.#words[CROSSED]!++
  }

  #matches(index: number, stat: Statx): boolean {
    const at = HEADER_WORDS + index * RECORD_WORDS
    return (
      this.#words[at + 1]! >>> 0 === stat.devMinor &&
      this.#words[at]! >>> 0 === stat.devMajor &&
      this.isOfMount(index, stat.mountId)
    )
  }
}
