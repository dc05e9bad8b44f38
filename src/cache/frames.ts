/**
 * The frames: which are free, which are in use, and when one that was given up can be used again.
 *
 * ```
 *   OFFLINE ──grow──▶ FREE ──take──▶ LOADING ──keep──▶ RESIDENT
 *      ▲               ▲                │                 │ (handOver: to another owner)
 *      └───shrink──────┤                └────giveUp───┬───┘
 *                      └──nobody has it pinned── LIMBO ◀
 * ```
 * Free frames are used first in, first out, so that a generation comes round as late as it can. Before them those that were loaded in vain (a page of zeros, or equal to
 * another): they have had no new generation, and their memory is there already.
 *
 * Invariants (restated by {@link Frames.checkInvariants}): each frame is in one state; the free list has the FREE ones and the limbo
 * list those in LIMBO, each once; not more than `limit` are in another state than FREE, OFFLINE or LIMBO, once `limit` was reached.
 */
import { FRAME, frameAt, nextGeneration } from '../layout/frame-record.ts'
import type { CacheMemory } from './memory.ts'
import type { PinnedFrames } from './pins.ts'

export const FRAME_STATE = { OFFLINE: 0, FREE: 1, LOADING: 2, RESIDENT: 3, LIMBO: 4 } as const

export const NO_FRAME = -1

/** Context: the keeper's thread. */
export class Frames {
  readonly capacity: number
  readonly #words: Int32Array
  readonly #states: Uint8Array
  readonly #pinned: PinnedFrames
  /** A ring. */
  readonly #free: Int32Array
  #freeHead = 0
  #freeCount = 0
  /** Free ones besides, that were {@link discard}ed. */
  #discarded: number[] = []
  #limbo: number[] = []
  #offline: number[] = []
  /** LOADING and RESIDENT. */
  #used = 0
  #limit: number

  constructor(memory: CacheMemory, pinned: PinnedFrames) {
    this.capacity = memory.sizes.frames
    this.#words = new Int32Array(memory.frames)
    this.#states = new Uint8Array(this.capacity)
    this.#pinned = pinned
    this.#free = new Int32Array(this.capacity)
    this.#limit = this.capacity
    for (let frame = 0; frame < this.capacity; frame++) this.#addFree(frame)
  }

  /** Frames that hold a page, or are about to. */
  get used(): number {
    return this.#used
  }

  /** Frames that were given up while somebody had them pinned, and nothing else can use. */
  get inLimbo(): number {
    return this.#limbo.length
  }

  get limit(): number {
    return this.#limit
  }

  /** How many frames could be taken out of use, were they free: see {@link shrink}. */
  get surplus(): number {
    return Math.max(0, this.capacity - this.#offline.length - this.#limit)
  }

  /** How many frames must be given up before another can be taken; 0: none. */
  get excess(): number {
    return Math.max(0, this.#used + this.#limbo.length + 1 - this.#limit)
  }

  /** Frames may be in use up to `limit`, those in limbo included. Lowering it takes nothing away: see {@link excess}. */
  setLimit(limit: number): void {
    this.#limit = Math.min(limit, this.capacity)
  }

  /** Takes a frame for a page of `mapping`, which is about to be loaded; {@link NO_FRAME} where there is none. */
  take(mapping: number, page: number): number {
    if (this.excess > 0) this.#sweepLimbo()
    if (this.excess > 0) return NO_FRAME
    if (this.#nothingFree) this.#bringOnline()
    if (this.#nothingFree) this.#sweepLimbo()
    if (this.#nothingFree) return NO_FRAME
    const frame = this.#discarded.shift() ?? this.#takeFree()
    this.#states[frame] = FRAME_STATE.LOADING
    this.#used++
    const at = frameAt(frame)
    this.#words[at + FRAME.MAPPING] = mapping
    this.#words[at + FRAME.PAGE] = page
    this.#words[at + FRAME.AGE] = 0
    return frame
  }

  /** The frame holds what it was taken for. Returns the generation for entries, which it has had at no time before. */
  keep(frame: number): number {
    const at = frameAt(frame)
    this.#states[frame] = FRAME_STATE.RESIDENT
    Atomics.store(this.#words, at, nextGeneration(this.#words[at]!))
    return this.#words[at]!
  }

  /** The page in the frame is another mapping's from now on. Its bytes stay, and pins do; entries that led to it lead nowhere. Returns the generation for new ones. */
  handOver(frame: number, mapping: number, page: number): number {
    const at = frameAt(frame)
    Atomics.store(this.#words, at, nextGeneration(this.#words[at]!))
    this.#words[at + FRAME.MAPPING] = mapping
    this.#words[at + FRAME.PAGE] = page
    Atomics.store(this.#words, at, nextGeneration(this.#words[at]!))
    return this.#words[at]!
  }

  /** From now on no entry leads to the frame, and what readers copied from it since is found to be worth nothing. */
  giveUp(frame: number): void {
    const at = frameAt(frame)
    Atomics.store(this.#words, at, nextGeneration(this.#words[at]!))
    this.#states[frame] = FRAME_STATE.LIMBO
    this.#used--
    this.#limbo.push(frame)
  }

  /** As {@link giveUp}, of a frame that no entry has led to. */
  discard(frame: number): void {
    this.#used--
    this.#states[frame] = FRAME_STATE.FREE
    this.#discarded.push(frame)
  }

  /** Takes frames that nobody uses out of use, those above the limit, and returns them: their memory can be given back. */
  shrink(): number[] {
    this.#sweepLimbo()
    for (const frame of this.#discarded.splice(0)) this.#addFree(frame)
    const released: number[] = []
    while (this.#freeCount > 0 && this.capacity - this.#offline.length > this.#limit) {
      const frame = this.#takeFree()
      this.#states[frame] = FRAME_STATE.OFFLINE
      this.#offline.push(frame)
      released.push(frame)
    }
    return released
  }

  state(frame: number): number {
    return this.#states[frame]!
  }

  mapping(frame: number): number {
    return this.#words[frameAt(frame) + FRAME.MAPPING]!
  }

  page(frame: number): number {
    return this.#words[frameAt(frame) + FRAME.PAGE]!
  }

  generation(frame: number): number {
    return this.#words[frameAt(frame)]!
  }

  /** Reads since {@link setAge}, up to AGE_MAX. Set to -1, the first is not counted. */
  age(frame: number): number {
    return Math.max(0, this.#words[frameAt(frame) + FRAME.AGE]!)
  }

  setAge(frame: number, age: number): void {
    this.#words[frameAt(frame) + FRAME.AGE] = age
  }

  checkInvariants(): void {
    const counts = [0, 0, 0, 0, 0]
    for (const state of this.#states) counts[state]!++
    const free = new Set(this.#discarded)
    for (let i = 0; i < this.#freeCount; i++) free.add(this.#free[(this.#freeHead + i) % this.capacity]!)
    const lists = [
      [free, this.#freeCount + this.#discarded.length, FRAME_STATE.FREE],
      [new Set(this.#limbo), this.#limbo.length, FRAME_STATE.LIMBO],
      [new Set(this.#offline), this.#offline.length, FRAME_STATE.OFFLINE],
    ] as const
    for (const [list, length, state] of lists) {
      if (list.size !== length || counts[state] !== length)
        throw new Error(
          `${counts[state]} frames are in state ${state}, ${length} in its list, ${list.size} of them different`,
        )
      for (const frame of list)
        if (this.#states[frame] !== state) throw new Error(`frame ${frame} is not in state ${state}`)
    }
    const used = counts[FRAME_STATE.LOADING]! + counts[FRAME_STATE.RESIDENT]!
    if (used !== this.#used) throw new Error(`${used} frames are in use, ${this.#used} are counted`)
  }

  get #nothingFree(): boolean {
    return this.#freeCount === 0 && this.#discarded.length === 0
  }

  #takeFree(): number {
    const frame = this.#free[this.#freeHead]!
    this.#freeHead = (this.#freeHead + 1) % this.capacity
    this.#freeCount--
    return frame
  }

  #addFree(frame: number): void {
    this.#states[frame] = FRAME_STATE.FREE
    this.#free[(this.#freeHead + this.#freeCount++) % this.capacity] = frame
  }

  #bringOnline(): void {
    const frame = this.#offline.pop()
    if (frame !== undefined) this.#addFree(frame)
  }

  #sweepLimbo(): void {
    if (this.#limbo.length === 0) return
    this.#pinned.look()
    this.#limbo = this.#limbo.filter((frame) => {
      if (this.#pinned.has(frame)) return true
      this.#addFree(frame)
      return false
    })
  }
}
