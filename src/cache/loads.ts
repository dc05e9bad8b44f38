/**
 * The pages that are being loaded, each into a frame of its own, and loads whose page was dropped meanwhile. Context: the keeper's thread.
 *
 * A hash table with chains through the frames: a miss begins and ends a load, and a Map with numbers that are no small integers as keys took a tenth of its time.
 */
import { type Frames, NO_FRAME } from './frames.ts'

/** A power of two; some more loads at once make chains longer, and that is all. */
const CHAINS = 1024

export class Loads {
  readonly #frames: Frames
  /** The first frame of each chain. */
  readonly #heads = new Int32Array(CHAINS).fill(NO_FRAME)
  /** By frame that is being loaded: the next one of its chain. */
  readonly #next: Int32Array
  /** By frame: its page was dropped, and it is in no chain. */
  readonly #isCancelled: Uint8Array
  #count = 0

  constructor(frames: Frames) {
    this.#frames = frames
    this.#next = new Int32Array(frames.capacity)
    this.#isCancelled = new Uint8Array(frames.capacity)
  }

  /** Frames that are being loaded into. */
  get count(): number {
    return this.#count
  }

  frameOf(mapping: number, page: number): number {
    const frames = this.#frames
    let frame = this.#heads[chainOf(mapping, page)]!
    while (frame !== NO_FRAME && (frames.page(frame) !== page || frames.mapping(frame) !== mapping))
      frame = this.#next[frame]!
    return frame
  }

  isCancelled(frame: number): boolean {
    return this.#isCancelled[frame] === 1
  }

  /** The page that `frame` was taken for is being loaded. */
  begin(frame: number): void {
    const chain = this.#chainOf(frame)
    this.#next[frame] = this.#heads[chain]!
    this.#heads[chain] = frame
    this.#count++
  }

  /** It is not any more. */
  end(frame: number): void {
    if (!this.isCancelled(frame)) this.#unlink(frame)
    this.#isCancelled[frame] = 0
    this.#count--
  }

  /** What is being loaded of pages [from, to) is worth nothing: who asks from now on loads it anew. */
  cancel(mapping: number, from: number, to: number): void {
    if (this.#count === 0) return
    for (const head of this.#heads)
      for (let frame = head; frame !== NO_FRAME; ) {
        const next = this.#next[frame]!
        const page = this.#frames.page(frame)
        if (this.#frames.mapping(frame) === mapping && page >= from && page < to) {
          this.#unlink(frame)
          this.#isCancelled[frame] = 1
        }
        frame = next
      }
  }

  #unlink(frame: number): void {
    const chain = this.#chainOf(frame)
    const next = this.#next[frame]!
    if (this.#heads[chain] === frame) {
      this.#heads[chain] = next
      return
    }
    let before = this.#heads[chain]!
    while (before !== NO_FRAME && this.#next[before] !== frame) before = this.#next[before]!
    if (before === NO_FRAME) throw new Error(`frame ${frame} is not being loaded`)
    this.#next[before] = next
  }

  #chainOf(frame: number): number {
    return chainOf(this.#frames.mapping(frame), this.#frames.page(frame))
  }
}

/** Pages side by side are in chains side by side. */
function chainOf(mapping: number, page: number): number {
  return (page + Math.imul(mapping, 0x9e37_79b1)) & (CHAINS - 1)
}
