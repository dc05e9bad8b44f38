/**
 * The frames: which are free, which are in use, and when one that was given up can be used again. Each NUMA node has frames of its own.
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
 * Invariants (restated by {@link Frames.checkInvariants}): each frame is in one state; the free lists have the FREE ones and the limbo
 * list those in LIMBO, each once; not more than `limit` are in another state than FREE, OFFLINE or LIMBO, once `limit` was reached.
 */
import { FRAME, frameAt, nextGeneration } from '../layout/frame-record.ts'
import { FrameNodes, oneNode } from './frame-nodes.ts'
import { FreeFrames } from './free-frames.ts'
import type { CacheMemory } from './memory.ts'
import type { PinnedFrames } from './pins.ts'

export const FRAME_STATE = { OFFLINE: 0, FREE: 1, LOADING: 2, RESIDENT: 3, LIMBO: 4 } as const

export const NO_FRAME = -1

/** Context: the keeper's thread. */
export class Frames {
  readonly capacity: number
  readonly nodes: FrameNodes
  readonly #words: Int32Array
  readonly #states: Uint8Array
  readonly #pinned: PinnedFrames
  /** By node. */
  readonly #free: readonly FreeFrames[]
  #limbo: number[] = []
  /** LOADING and RESIDENT. */
  #used = 0
  #limit: number
  #isFilled = false

  constructor(memory: CacheMemory, pinned: PinnedFrames, nodes = new FrameNodes(oneNode(memory.sizes.frames))) {
    this.capacity = memory.sizes.frames
    this.nodes = nodes
    this.#words = new Int32Array(memory.frames)
    this.#states = new Uint8Array(this.capacity)
    this.#pinned = pinned
    this.#states.fill(FRAME_STATE.FREE)
    this.#free = nodes.table.frames.map((count, node) => new FreeFrames(nodes.first(node), count))
    this.#limit = this.capacity
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
    return Math.max(0, this.capacity - this.#offline - this.#limit)
  }

  /** How many frames must be given up before another can be taken; 0: none. */
  get excess(): number {
    return Math.max(0, this.#used + this.#limbo.length + 1 - this.#limit)
  }

  /** All frames that the limit allows have been used since it was raised last: pages take the place of others now, and no more memory. */
  get isFilled(): boolean {
    return this.#isFilled
  }

  /** Frames may be in use up to `limit`, those in limbo included. Lowering it takes nothing away: see {@link excess}. */
  setLimit(limit: number): void {
    if (limit > this.#limit) this.#isFilled = false
    this.#limit = Math.min(limit, this.capacity)
  }

  /** Takes a frame of the first of `nodes` that has one, for a page of `mapping` that is about to be loaded; {@link NO_FRAME} where there is none. */
  take(mapping: number, page: number, nodes: readonly number[] = this.nodes.nearest(0)): number {
    if (this.excess > 0) {
      this.#isFilled = true
      this.#sweepLimbo()
    }
    if (this.excess > 0) return NO_FRAME
    let frame = this.#takeFree(nodes)
    if (frame === NO_FRAME && this.#limbo.length > 0) {
      this.#sweepLimbo()
      frame = this.#takeFree(nodes)
    }
    if (frame === NO_FRAME) return NO_FRAME
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
    this.#free[this.nodes.nodeOf(frame)]!.putBack(frame)
  }

  /** Takes frames that nobody uses out of use, those above the limit, and returns them: their memory can be given back. */
  shrink(): number[] {
    this.#sweepLimbo()
    const released: number[] = []
    for (let left = this.surplus; left > 0; left--) {
      // Of the node that has the most of them.
      const fullest = this.#free.reduce((most, free) => (free.count > most.count ? free : most))
      const frame = fullest.putOffline()
      if (frame < 0) break
      this.#states[frame] = FRAME_STATE.OFFLINE
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
    const free = this.#free.flatMap((list) => list.list())
    const offline = this.#free.flatMap((list) => list.offline)
    const lists = [
      [new Set(free), free.length, FRAME_STATE.FREE],
      [new Set(this.#limbo), this.#limbo.length, FRAME_STATE.LIMBO],
      [new Set(offline), offline.length, FRAME_STATE.OFFLINE],
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

  get #offline(): number {
    return this.#free.reduce((sum, { offline }) => sum + offline.length, 0)
  }

  #takeFree(nodes: readonly number[]): number {
    for (const node of nodes) {
      const frame = this.#free[node]!.take()
      if (frame >= 0) return frame
    }
    return NO_FRAME
  }

  #addFree(frame: number): void {
    this.#states[frame] = FRAME_STATE.FREE
    this.#free[this.nodes.nodeOf(frame)]!.add(frame)
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
