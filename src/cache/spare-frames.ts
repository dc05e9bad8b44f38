/**
 * Frames whose pages can be had elsewhere without a disk: replicas of other frames, and what lies in a device's memory. They are the first to go when room is needed, but for
 * a budget of them: a clock, in which what was read since the last look is passed over.
 *
 * Context: the keeper's thread.
 */
import type { Frames } from './frames.ts'
import { NO_FRAME } from './frames.ts'

/** Frames that are passed over, having been read since, before one goes all the same; or none. */
const LOOKS_MAX = 64

export class SpareFrames {
  /** So many of them no page takes. */
  budget = 0
  readonly #frames: Frames
  /** Those that were added or passed over last at the end. */
  readonly #clock = new Set<number>()

  readonly #onLook: (frame: number, age: number) => void

  /** `onLook` is told how often a frame was read since the last look. */
  constructor(frames: Frames, onLook: (frame: number, age: number) => void = () => {}) {
    this.#frames = frames
    this.#onLook = onLook
  }

  get count(): number {
    return this.#clock.size
  }

  has(frame: number): boolean {
    return this.#clock.has(frame)
  }

  add(frame: number): void {
    this.#clock.add(frame)
  }

  delete(frame: number): void {
    this.#clock.delete(frame)
  }

  [Symbol.iterator](): Iterator<number> {
    return this.#clock.values()
  }

  /** One that is beyond the budget, preferably one that was not read since the last look; {@link NO_FRAME} where there is none that may go. */
  surplus(mayGo: (frame: number) => boolean): number {
    return this.count > this.budget ? this.#pick(mayGo, true) : NO_FRAME
  }

  /** One of the next that was not read since the last look; {@link NO_FRAME} where all were. */
  cold(mayGo: (frame: number) => boolean): number {
    return this.#pick(mayGo, false)
  }

  /** The first that may go and is cold; `mustGo`: after some looks, that may go. */
  #pick(mayGo: (frame: number) => boolean, mustGo: boolean): number {
    const looksMax = LOOKS_MAX + (mustGo ? this.#clock.size : 0)
    let looks = 0
    for (const frame of this.#clock) {
      if (looks++ >= looksMax) break
      if (mayGo(frame) && (this.#frames.age(frame) === 0 || looks > LOOKS_MAX)) return frame
      this.#onLook(frame, this.#frames.age(frame))
      this.#frames.setAge(frame, 0)
      // To the end: the loop comes to it again.
      this.#clock.delete(frame)
      this.#clock.add(frame)
    }
    return NO_FRAME
  }
}
