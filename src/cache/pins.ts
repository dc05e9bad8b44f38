/**
 * Pins: which frames threads have handed out and may look at for as long as they like.
 *
 * They are hazard pointers (M. Michael, 2004): each thread has slots of its own, and writes a frame's number into one before it looks whether the
 * frame is still what it found. The keeper gives a frame to nobody else while any slot has it. No counts: of a thread that died, the slots are cleared,
 * and all is as if it had let go.
 *
 * ```
 *   reader:  store slot := frame    load generation      → changed? let go, look up again
 *   keeper:  store generation + 1   load all slots       → has it? the frame waits
 * ```
 * All four are in one order (see {@link PinnedFrames.look}), so at least one of them sees what the other wrote.
 */
import type { CacheMemory } from './memory.ts'

/** Of a thread's words the first tells how many of those behind it were ever used: the keeper need not look at the others. */
const HIGH_WATER = 0

/** A thread's own slots. */
export class Pins {
  readonly #words: Int32Array
  /** Free slots, the next one last. */
  readonly #free: Int32Array
  #freeCount = 0
  #highWater = HIGH_WATER
  #isEnded = false

  /** `thread`: below {@link CacheSizes.threads}, and nobody else's. */
  constructor(memory: CacheMemory, thread: number) {
    const { pinsPerThread } = memory.sizes
    this.#words = new Int32Array(memory.pins, thread * pinsPerThread * 4, pinsPerThread)
    this.#free = new Int32Array(pinsPerThread)
  }

  /** How many frames can be pinned now. */
  get free(): number {
    return this.#freeCount + this.#words.length - 1 - this.#highWater
  }

  /** Pins `frame`: the slot to {@link unpin}, or -1 where all are in use. Whether it still is what was found must be asked afterwards. */
  pin(frame: number): number {
    let slot: number
    if (this.#freeCount > 0) slot = this.#free[--this.#freeCount]!
    else if (this.#highWater + 1 < this.#words.length) {
      slot = ++this.#highWater
      Atomics.store(this.#words, HIGH_WATER, slot)
    } else return -1
    Atomics.store(this.#words, slot, frame + 1)
    return slot
  }

  unpin(slot: number): void {
    if (this.#isEnded) return
    Atomics.store(this.#words, slot, 0)
    this.#free[this.#freeCount++] = slot
  }

  /** The thread has let go of everything: its slots are the next one's. Nothing is pinned any more, nor let go of. */
  end(): void {
    this.#isEnded = true
    this.#freeCount = 0
    this.#highWater = this.#words.length
  }
}

/** Looks that one byte tells apart. */
const LOOKS_MAX = 255

/** Frames that are worth a look, at least, and slots for each of them. */
const BATCH_MIN = 32
const SLOTS_PER_FRAME = 128
/** Of so many frames that the cache may have, one goes with a batch: they could have been found a while longer. */
const LIMIT_PER_FRAME = 128

/** The keeper's view of all threads' pins. */
export class PinnedFrames {
  readonly #words: Int32Array
  readonly #pinsPerThread: number
  readonly #attached = new Set<number>()
  /** By frame: the number of the look that found it pinned last; 0: none. So a look need not clear what those before it have found. */
  readonly #foundBy: Uint8Array
  /** Of the last look: its number, and how many slots it went through. */
  #number = 1
  #slots = 0

  constructor(memory: CacheMemory) {
    this.#words = new Int32Array(memory.pins)
    this.#pinsPerThread = memory.sizes.pinsPerThread
    this.#foundBy = new Uint8Array(memory.sizes.frames)
  }

  /**
   * How many frames to give up at once in a cache of `limit`, where one is needed: each time takes a look at all pins. More where there is more to look at, so that what it costs
   * for each frame does not grow with the pins (as Michael has it: a scan is due when enough was retired to pay for it).
   */
  batch(limit: number): number {
    const paysForLook = Math.max(BATCH_MIN, Math.floor(this.#slots / SLOTS_PER_FRAME))
    return Math.min(paysForLook, Math.floor(limit / LIMIT_PER_FRAME))
  }

  attach(thread: number): void {
    this.#attached.add(thread)
  }

  /** The thread is no more: it lets go of everything. */
  detach(thread: number): void {
    this.#attached.delete(thread)
    const at = thread * this.#pinsPerThread
    for (let i = Atomics.load(this.#words, at + HIGH_WATER); i >= 0; i--) Atomics.store(this.#words, at + i, 0)
  }

  /** Looks at all slots; what {@link has} says is as of now. */
  look(): void {
    if (this.#number === LOOKS_MAX) {
      this.#foundBy.fill(0)
      this.#number = 0
    }
    this.#number++
    this.#slots = 0
    for (const thread of this.#attached) {
      const at = thread * this.#pinsPerThread
      // An atomic load, which comes after the keeper's store of a generation; no load that follows it is done before it. So those of the slots can be plain ones, which cost a
      // fraction, and there may be many.
      const used = Atomics.load(this.#words, at + HIGH_WATER)
      for (let i = used; i > HIGH_WATER; i--) {
        const word = this.#words[at + i]!
        if (word !== 0) this.#foundBy[word - 1] = this.#number
      }
      this.#slots += used
    }
  }

  has(frame: number): boolean {
    return this.#foundBy[frame] === this.#number
  }
}
