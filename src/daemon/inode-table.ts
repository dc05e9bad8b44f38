/**
 * The inodes that the kernel knows by a nodeid, in memory that all threads of the daemon share.
 *
 * A slot is one inode for as long as the kernel remembers it or has it open; nodeid = slot + 1, so the root is
 * slot 0. An inode is found again by (file system, inode number, handle), so that a hard link gets the same
 * nodeid and a deleted file whose number is used again gets another.
 *
 * ```
 * record of a slot: 48 words of 32 bits             who writes it
 *   @0  lock        the slot's own mutex             any thread
 *   @1  lookups     references that the kernel holds  under the table's mutex
 *   @2  next        next slot of the bucket / free    under the table's mutex
 *   @3  inoLow  @4 inoHigh                            when the slot is filled
 *   @5  fs          number of its file system, see filesystem-table.ts    when the slot is filled
 *   @6  flags       see SLOT_FLAG                     under the table's mutex
 *   @7  generation  times the slot was filled         when the slot is filled
 *   @8  fd          O_PATH descriptor, or -1          see InodeFiles
 *   @9  pins        users of that descriptor          see InodeFiles
 *   @10 handleSize  bytes of the file handle, or 0    when the slot is filled
 *   @11 … @20       the file handle, 40 bytes         when the slot is filled
 *   @21 @22 domain  sharing domain, 64 bits           under the table's mutex
 *   @23 attrSec     @24 attrNsec: ctime of the attributes that the kernel was told last    any thread
 *   @25 opens       open files of the kernel          under the table's mutex
 *   @26 … @36       how the file is served            under the slot's lock, see slot-serving.ts; but for KIND_ONCE, which any thread adds, and
 *                                                     @35 copied (1: the kernel has a copy of what was read), which whoever answers such a read sets
 *   @37 @38         where a sequential reader is      any thread, without a lock, see readahead.ts
 *   @39 writers     open files that may write         under the slot's lock
 *   @40 … @42       changes of a written file, see slot-serving.ts     under the slot's lock
 *   @43 storable    may be mapped for writing, see unheard-stores.ts     under the slot's lock
 *   @44 warm        a descriptor + 1, or 0, see warm-files.ts     under the slot's lock
 *   @45 filled      1: the kernel has read pages for itself       any thread
 *   @46 passed      was ever passed through                       under the slot's lock
 *   @47 listed      of a directory, see listings.ts; its words @27 @28 are the list's ctime     under the slot's lock, but for one step
 * ```
 * Invariants: a slot in use is in exactly one bucket or has flag UNHASHED; lookups > 0 or opens > 0;
 * free slots are in the free list and in no bucket.
 */
import { SharedMutex } from '../util/shared-mutex.ts'

export const SLOT_WORDS = 48
const LOOKUPS_MAX = 2 ** 31 - 1
export const HANDLE_BYTES_MAX = 40

export const SLOT = {
  LOCK: 0,
  LOOKUPS: 1,
  NEXT: 2,
  INO_LOW: 3,
  INO_HIGH: 4,
  FS: 5,
  FLAGS: 6,
  GENERATION: 7,
  FD: 8,
  PINS: 9,
  HANDLE_SIZE: 10,
  HANDLE: 11,
  DOMAIN_LOW: 21,
  DOMAIN_HIGH: 22,
  ATTR_SEC: 23,
  ATTR_NSEC: 24,
  OPENS: 25,
  KIND: 26,
  CTIME_SEC: 27,
  CTIME_NSEC: 28,
  SIZE_LOW: 29,
  SIZE_HIGH: 30,
  HOME: 31,
  HOME_GENERATION: 32,
  BACKING: 33,
  MAP: 34,
  COPIED: 35,
  RECHECK_SEC: 36,
  NEXT_PAGE: 37,
  AHEAD_PAGE: 38,
  WRITERS: 39,
  CHANGING: 40,
  FOREIGN_SEEN: 41,
  FOREIGN_CHECKED: 42,
  STORABLE: 43,
  WARM: 44,
  FILLED: 45,
  PASSED: 46,
  LISTED: 47,
} as const

/** Ored to SLOT.KIND: the decision is not to be used for another open after the last close. */
export const KIND_ONCE = 0x100

export const SLOT_FLAG = {
  IN_USE: 1,
  /** No longer found by look-ups: the inode got another nodeid, or its number another inode. */
  UNHASHED: 2,
  /** A mountpoint of another file system, or a subvolume that is not in a snapshot: shown as an empty directory. */
  HIDDEN: 4,
  DIRECTORY: 8,
  /** A directory that is removed: without the slot's descriptor it would be gone. */
  REMOVED: 16,
} as const

/** Nodeid ↔ slot. */
export const slotOf = (nodeid: number): number => nodeid - 1
export const nodeidOf = (slot: number): number => slot + 1

/** In {@link SLOT.PINS}: the descriptor is being taken away; whoever wants to pin it waits for a moment. */
export const PINS_EVICTING = -1

// Header words.
const MUTEX = 0
const FREE_HEAD = 1
const HIGH_WATER = 2
const COUNT = 3
/** Slots that the kernel still knows, and look-ups do not find any more. */
const UNHASHED = 4
const HEADER_WORDS = 16
const BUCKETS = 1 << 20

/** What a slot is looked up by, filled by the caller and reused: no object is made per look-up. */
export class InodeKey {
  fs = 0
  inoLow = 0
  inoHigh = 0
  handleSize = 0
  readonly handle = new Uint8Array(HANDLE_BYTES_MAX)
}

export class InodeTable {
  readonly buffer: SharedArrayBuffer
  readonly words: Int32Array
  readonly capacity: number
  readonly #bytes: Uint8Array
  readonly #buckets: number
  readonly #slots: number
  readonly #mutex: SharedMutex
  readonly #successorKey = new InodeKey()
  /** Whether the last {@link acquire} on this thread made a new slot. */
  created = false

  /** Memory for `capacity` inodes; address space is reserved at once, memory is used as slots are. */
  static allocate(capacity: number): SharedArrayBuffer {
    return new SharedArrayBuffer((HEADER_WORDS + BUCKETS + capacity * SLOT_WORDS) * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.words = new Int32Array(buffer)
    this.#bytes = new Uint8Array(buffer)
    this.#buckets = HEADER_WORDS
    this.#slots = HEADER_WORDS + BUCKETS
    this.capacity = (this.words.length - this.#slots) / SLOT_WORDS
    this.#mutex = new SharedMutex(this.words, MUTEX)
  }

  /** Slots in use. */
  get count(): number {
    return Atomics.load(this.words, COUNT)
  }

  /** Slots that were ever used: the range for sweeps. */
  get highWater(): number {
    return Atomics.load(this.words, HIGH_WATER)
  }

  /** Index of the slot's first word. */
  at(slot: number): number {
    return this.#slots + slot * SLOT_WORDS
  }

  get(slot: number, field: number): number {
    return this.words[this.#slots + slot * SLOT_WORDS + field]!
  }

  set(slot: number, field: number, value: number): void {
    this.words[this.#slots + slot * SLOT_WORDS + field] = value
  }

  /** The slot's sharing domain: a float, as the latest {@link acquire} got it. */
  domain(slot: number): number {
    return (this.get(slot, SLOT.DOMAIN_HIGH) >>> 0) * 2 ** 32 + (this.get(slot, SLOT.DOMAIN_LOW) >>> 0)
  }

  /** The slot's file handle: a view. */
  handle(slot: number): Uint8Array {
    const start = (this.at(slot) + SLOT.HANDLE) * 4
    return this.#bytes.subarray(start, start + this.get(slot, SLOT.HANDLE_SIZE))
  }

  lockOf(slot: number): SharedMutex {
    return new SharedMutex(this.words, this.at(slot) + SLOT.LOCK)
  }

  isInUse(slot: number): boolean {
    return slot >= 0 && slot < this.highWater && (this.get(slot, SLOT.FLAGS) & SLOT_FLAG.IN_USE) !== 0
  }

  /**
   * Finds or makes the slot of an inode and counts one more look-up by the kernel. `fd` and `flags` are stored only in a new slot (see {@link created}). Returns -1 where the table is full.
   */
  acquire(key: InodeKey, fd: number, domain: number, flags: number): number {
    const { words } = this
    const bucket = this.#buckets + hash(key.fs, key.inoLow, key.inoHigh)
    this.created = false
    this.#mutex.lock()
    try {
      for (let entry = words[bucket]!; entry !== 0; entry = this.get(entry - 1, SLOT.NEXT)) {
        const slot = entry - 1
        if (!this.#sameNumber(slot, key)) continue
        if (this.#sameHandle(slot, key)) {
          this.#countLookup(slot)
          if (this.domain(slot) !== domain) this.#moveTo(slot, domain)
          return slot
        }
        // The number belongs to another inode now: the old one is still known to the kernel, but never found again.
        this.#unhashKnown(slot)
        break
      }
      const slot = this.#take()
      if (slot < 0) return -1
      const at = this.at(slot)
      words[at + SLOT.LOOKUPS] = 1
      words[at + SLOT.INO_LOW] = key.inoLow
      words[at + SLOT.INO_HIGH] = key.inoHigh
      words[at + SLOT.FS] = key.fs
      words[at + SLOT.FLAGS] = SLOT_FLAG.IN_USE | flags
      words[at + SLOT.GENERATION]!++
      words[at + SLOT.FD] = fd
      this.#setDomain(slot, domain)
      words[at + SLOT.HANDLE_SIZE] = key.handleSize
      words.fill(0, at + SLOT.ATTR_SEC, at + SLOT_WORDS)
      const start = (at + SLOT.HANDLE) * 4
      for (let i = 0; i < key.handleSize; i++) this.#bytes[start + i] = key.handle[i]!
      words[at + SLOT.NEXT] = words[bucket]!
      words[bucket] = slot + 1
      this.created = true
      return slot
    } finally {
      this.#mutex.unlock()
    }
  }

  /** Keeps a slot that somebody has open as one more look-up would, until {@link forget}. */
  keep(slot: number): void {
    this.#mutex.lock()
    this.#countLookup(slot)
    this.#mutex.unlock()
  }

  /** The slot by which the kernel knows the inode, or -1. It is not kept: another thread may give it to another inode at any time. */
  find(key: InodeKey): number {
    this.#mutex.lock()
    const slot = this.#find(key)
    this.#mutex.unlock()
    return slot
  }

  /**
   * Leaves the O_PATH descriptor `fd` of a directory that was removed to its slot, until that is unused: the inode lives on for those whose working directory it is. False where
   * the slot has a descriptor already, which it then keeps, or where there is none: `fd` is still the caller's.
   */
  keepRemoved(key: InodeKey, fd: number): boolean {
    this.#mutex.lock()
    const slot = this.#find(key)
    if (slot >= 0) this.words[this.at(slot) + SLOT.FLAGS]! |= SLOT_FLAG.REMOVED
    const isTaken = slot >= 0 && Atomics.compareExchange(this.words, this.at(slot) + SLOT.FD, -1, fd) < 0
    this.#mutex.unlock()
    return isTaken
  }

  #find(key: InodeKey): number {
    const bucket = this.#buckets + hash(key.fs, key.inoLow, key.inoHigh)
    for (let entry = this.words[bucket]!; entry !== 0; entry = this.get(entry - 1, SLOT.NEXT))
      if (this.#sameNumber(entry - 1, key) && this.#sameHandle(entry - 1, key)) return entry - 1
    return -1
  }

  /** It was given to another owner, or moved: who has it open shares on, the next first open is decided on in the new domain. */
  #moveTo(slot: number, domain: number): void {
    this.#setDomain(slot, domain)
    // After the domain: whoever stores a decision looks at the domain once more.
    Atomics.or(this.words, this.at(slot) + SLOT.KIND, KIND_ONCE)
  }

  #setDomain(slot: number, domain: number): void {
    this.set(slot, SLOT.DOMAIN_LOW, domain % 2 ** 32)
    this.set(slot, SLOT.DOMAIN_HIGH, Math.floor(domain / 2 ** 32))
  }

  /**
   * Takes back `count` look-ups. Returns true where that was the last use of the slot, which then belongs to the caller alone until it calls {@link release}.
   */
  forget(slot: number, count: number): boolean {
    this.#mutex.lock()
    try {
      const at = this.at(slot) + SLOT.LOOKUPS
      const known = this.words[at]!
      if (known < LOOKUPS_MAX) this.words[at] = Math.max(0, known - count)
      return this.words[at] === 0 && this.#retireIfUnused(slot)
    } finally {
      this.#mutex.unlock()
    }
  }

  /** More than can be counted are never all forgotten. */
  #countLookup(slot: number): void {
    if (this.get(slot, SLOT.LOOKUPS) < LOOKUPS_MAX) this.words[this.at(slot) + SLOT.LOOKUPS]!++
  }

  /** Counts an open (delta 1) or a close (delta -1); as {@link forget}, true where the slot is now unused. */
  countOpen(slot: number, delta: number): boolean {
    this.#mutex.lock()
    try {
      this.words[this.at(slot) + SLOT.OPENS]! += delta
      return this.#retireIfUnused(slot)
    } finally {
      this.#mutex.unlock()
    }
  }

  /** The inode's next look-up makes a new slot, with a new nodeid. The old one lives on until the kernel forgets it. */
  unhash(slot: number): void {
    this.#mutex.lock()
    try {
      this.#unhashKnown(slot)
    } finally {
      this.#mutex.unlock()
    }
  }

  isUnhashed(slot: number): boolean {
    return (this.get(slot, SLOT.FLAGS) & SLOT_FLAG.UNHASHED) !== 0
  }

  /** Whether it is a directory that was removed through the mount and is kept by the slot's descriptor. */
  isRemoved(slot: number): boolean {
    return (this.get(slot, SLOT.FLAGS) & SLOT_FLAG.REMOVED) !== 0
  }

  /** The slot that look-ups find for the inode of `slot`, which they do not find any more; -1 where there is none yet. */
  successor(slot: number): number {
    return this.find(keyOf(this, slot, this.#successorKey))
  }

  /**
   * All slots of the inode that `slot`, which the caller keeps, is one of. The others are not kept: another thread may give them to other inodes at any
   * time. Goes through the table where some inode has another slot than look-ups find.
   */
  slotsOf(slot: number): number[] {
    const found = this.isUnhashed(slot) ? this.successor(slot) : slot
    const slots = found < 0 ? [] : [found]
    if (Atomics.load(this.words, UNHASHED) === 0) return slots
    const key = keyOf(this, slot)
    for (let other = 0; other < this.highWater; other++) {
      const isOther = this.isInUse(other) && this.isUnhashed(other)
      if (isOther && this.#sameNumber(other, key) && this.#sameHandle(other, key)) slots.push(other)
    }
    return slots
  }

  /**
   * Takes the descriptor of a directory that can be opened again by its handle and that nobody has pinned: the caller closes
   * it. -1 where there is none. Under the mutex, lest the slot be given to another inode meanwhile.
   */
  takeIdleDescriptor(slot: number): number {
    this.#mutex.lock()
    try {
      const at = this.at(slot)
      if (!this.isInUse(slot) || this.words[at + SLOT.HANDLE_SIZE] === 0 || this.isRemoved(slot)) return -1
      if (Atomics.compareExchange(this.words, at + SLOT.PINS, 0, PINS_EVICTING) !== 0) return -1
      const fd = Atomics.exchange(this.words, at + SLOT.FD, -1)
      Atomics.store(this.words, at + SLOT.PINS, 0)
      return fd
    } finally {
      this.#mutex.unlock()
    }
  }

  /** Gives back a slot that {@link forget} or {@link countOpen} said is unused. */
  release(slot: number): void {
    this.#mutex.lock()
    const at = this.at(slot)
    this.words[at + SLOT.FLAGS] = 0
    this.words[at + SLOT.NEXT] = this.words[FREE_HEAD]!
    this.words[FREE_HEAD] = slot + 1
    this.words[COUNT]!--
    this.#mutex.unlock()
  }

  #take(): number {
    const { words } = this
    const free = words[FREE_HEAD]!
    if (free === 0 && words[HIGH_WATER] === this.capacity) return -1
    const slot = free === 0 ? words[HIGH_WATER]!++ : free - 1
    if (free !== 0) words[FREE_HEAD] = this.get(slot, SLOT.NEXT)
    words[COUNT]!++
    return slot
  }

  #retireIfUnused(slot: number): boolean {
    const at = this.at(slot)
    if (slot === 0 || this.words[at + SLOT.LOOKUPS] !== 0 || this.words[at + SLOT.OPENS] !== 0) return false
    if ((this.words[at + SLOT.FLAGS]! & SLOT_FLAG.IN_USE) === 0) return false
    if (this.words[at + SLOT.FLAGS]! & SLOT_FLAG.UNHASHED) this.words[UNHASHED]!--
    else this.#unhash(slot)
    this.words[at + SLOT.FLAGS]! &= ~SLOT_FLAG.IN_USE
    return true
  }

  /** Of a slot that stays in use. */
  #unhashKnown(slot: number): void {
    if (this.get(slot, SLOT.FLAGS) & SLOT_FLAG.UNHASHED) return
    this.words[UNHASHED]!++
    this.#unhash(slot)
  }

  #unhash(slot: number): void {
    const { words } = this
    const at = this.at(slot)
    words[at + SLOT.FLAGS]! |= SLOT_FLAG.UNHASHED
    let link = this.#buckets + this.#hashOf(slot)
    while (words[link] !== slot + 1) {
      if (words[link] === 0) throw new Error(`inode table: slot ${slot} is in no bucket`)
      link = this.at(words[link]! - 1) + SLOT.NEXT
    }
    words[link] = words[at + SLOT.NEXT]!
  }

  #hashOf(slot: number): number {
    return hash(this.get(slot, SLOT.FS), this.get(slot, SLOT.INO_LOW) >>> 0, this.get(slot, SLOT.INO_HIGH) >>> 0)
  }

  #sameNumber(slot: number, key: InodeKey): boolean {
    const at = this.at(slot)
    return (
      this.words[at + SLOT.INO_LOW]! >>> 0 === key.inoLow &&
      this.words[at + SLOT.INO_HIGH]! >>> 0 === key.inoHigh &&
      this.words[at + SLOT.FS] === key.fs
    )
  }

  #sameHandle(slot: number, key: InodeKey): boolean {
    const size = this.get(slot, SLOT.HANDLE_SIZE)
    if (size !== key.handleSize) return false
    const start = (this.at(slot) + SLOT.HANDLE) * 4
    for (let i = 0; i < size; i++) if (this.#bytes[start + i] !== key.handle[i]) return false
    return true
  }

  /** Throws, with the slot's record, where an invariant of the table does not hold. Only while no other thread works on it. */
  checkInvariants(): void {
    const { words } = this
    const seen = new Set<number>()
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      for (let entry = words[this.#buckets + bucket]!; entry !== 0; entry = this.get(entry - 1, SLOT.NEXT)) {
        const slot = entry - 1
        if (seen.has(slot)) this.#fail(slot, 'is in two buckets')
        seen.add(slot)
        if (!this.isInUse(slot)) this.#fail(slot, 'is in a bucket but not in use')
        if (this.get(slot, SLOT.FLAGS) & SLOT_FLAG.UNHASHED) this.#fail(slot, 'is unhashed but in a bucket')
        const home = this.#hashOf(slot)
        if (home !== bucket) this.#fail(slot, `is in bucket ${bucket}, belongs to ${home}`)
      }
    }
    let free = 0
    for (let entry = words[FREE_HEAD]!; entry !== 0; entry = this.get(entry - 1, SLOT.NEXT)) {
      if (this.isInUse(entry - 1)) this.#fail(entry - 1, 'is free and in use')
      if (++free > this.highWater) throw new Error('inode table: the free list is a circle')
    }
    let used = 0
    for (let slot = 0; slot < this.highWater; slot++) {
      if (!this.isInUse(slot)) continue
      used++
      if (!seen.has(slot) && !(this.get(slot, SLOT.FLAGS) & SLOT_FLAG.UNHASHED)) this.#fail(slot, 'cannot be found')
      if (slot !== 0 && this.get(slot, SLOT.LOOKUPS) === 0 && this.get(slot, SLOT.OPENS) === 0)
        this.#fail(slot, 'is used by nobody')
    }
    if (used !== this.count) throw new Error(`inode table: ${used} slots in use, count says ${this.count}`)
    if (used + free !== this.highWater) throw new Error('inode table: a slot is neither used nor free')
  }

  #fail(slot: number, what: string): never {
    const record = this.words.subarray(this.at(slot), this.at(slot + 1))
    throw new Error(`inode table: slot ${slot} ${what}: [${record.join(' ')}]`)
  }
}

function hash(fs: number, inoLow: number, inoHigh: number): number {
  let h = Math.imul(inoLow ^ Math.imul(inoHigh + fs * 31, 0x85ebca6b), 0x9e3779b1)
  h ^= h >>> 15
  return (h >>> 0) & (BUCKETS - 1)
}

/** What the slot is looked up by, in `key`. */
export function keyOf(inodes: InodeTable, slot: number, key = new InodeKey()): InodeKey {
  key.fs = inodes.get(slot, SLOT.FS)
  key.inoLow = inodes.get(slot, SLOT.INO_LOW) >>> 0
  key.inoHigh = inodes.get(slot, SLOT.INO_HIGH) >>> 0
  const handle = inodes.handle(slot)
  key.handle.set(handle)
  key.handleSize = handle.length
  return key
}
