/** The pages that are being loaded, each into a frame of its own, and loads whose page was dropped meanwhile. Context: the keeper's thread. */
import { PAGES_MAX } from '../layout/mapping-record.ts'
import { type Frames, NO_FRAME } from './frames.ts'

export class Loads {
  readonly #frames: Frames
  readonly #byPage = new Map<number, number>()
  /** By frame: its page was dropped. */
  readonly #isCancelled: Uint8Array
  #cancelled = 0

  constructor(frames: Frames) {
    this.#frames = frames
    this.#isCancelled = new Uint8Array(frames.capacity)
  }

  /** Frames that are being loaded into. */
  get count(): number {
    return this.#byPage.size + this.#cancelled
  }

  frameOf(mapping: number, page: number): number {
    return this.#byPage.get(keyOf(mapping, page)) ?? NO_FRAME
  }

  isCancelled(frame: number): boolean {
    return this.#isCancelled[frame] === 1
  }

  /** The page that `frame` was taken for is being loaded. */
  begin(frame: number): void {
    this.#byPage.set(this.#keyOf(frame), frame)
  }

  /** It is not any more. */
  end(frame: number): void {
    if (this.isCancelled(frame)) this.#cancelled--
    else this.#byPage.delete(this.#keyOf(frame))
    this.#isCancelled[frame] = 0
  }

  /** What is being loaded of pages [from, to) is worth nothing: who asks from now on loads it anew. */
  cancel(mapping: number, from: number, to: number): void {
    for (const frame of this.#byPage.values()) {
      const page = this.#frames.page(frame)
      if (this.#frames.mapping(frame) !== mapping || page < from || page >= to) continue
      this.#isCancelled[frame] = 1
      this.#cancelled++
      this.#byPage.delete(this.#keyOf(frame))
    }
  }

  #keyOf(frame: number): number {
    return keyOf(this.#frames.mapping(frame), this.#frames.page(frame))
  }
}

/** One number for a page of a mapping; exact up to 2^22 mappings. */
function keyOf(mapping: number, page: number): number {
  return mapping * PAGES_MAX + page
}
