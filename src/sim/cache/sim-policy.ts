/** A reclaim policy without a mind: any page may go at any time. */
import { NEVER, type ReclaimPolicy } from '../../cache/reclaim/policy.ts'
import type { Random } from '../random.ts'

const STAMPS = 8

export class SimPolicy implements ReclaimPolicy {
  readonly #random: Random
  readonly #frames = new Set<number>()

  constructor(random: Random) {
    this.#random = random
  }

  get size(): number {
    return this.#frames.size
  }

  insert(frame: number, stamp: number): void {
    if (stamp !== NEVER && stamp >= STAMPS) throw new Error(`${stamp} is no stamp of this policy`)
    if (this.#frames.has(frame)) throw new Error(`frame ${frame} holds two pages`)
    this.#frames.add(frame)
  }

  insertCold(frame: number): void {
    this.insert(frame, NEVER)
  }

  remove(frame: number): void {
    if (!this.#frames.delete(frame)) throw new Error(`frame ${frame} is removed and was not there`)
  }

  victim(mayEvict: (frame: number) => boolean): number {
    const frames = [...this.#frames].filter(mayEvict)
    if (frames.length === 0) return -1
    const frame = this.#random.pick(frames)
    this.#frames.delete(frame)
    return frame
  }

  stampOf(): number {
    return this.#random.below(STAMPS)
  }

  isWorthKeeping(): boolean {
    return this.#random.chance(0.5)
  }

  resize(): void {}

  checkInvariants(): void {}
}
