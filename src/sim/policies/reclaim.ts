/**
 * Drives a reclaim policy of the cache (src/cache/reclaim) as the cache does: hits only count an age up, and the policy is asked at misses.
 */
import { AGE_MAX, type Ages, NEVER, type ReclaimPolicy } from '../../cache/reclaim/policy.ts'
import { ReuseClock } from '../../cache/reclaim/reuse-clock.ts'
import { expectAtMost, type SimulatedCache, type SimulatedPolicy } from './policy.ts'

export const reuseClock: SimulatedPolicy = {
  name: 'Samepage',
  create: (capacity, pages) => new ReclaimingCache(capacity, pages, (ages) => new ReuseClock(capacity, ages)),
}

const ALL_MAY_GO = (): boolean => true

class ReclaimingCache implements SimulatedCache {
  readonly #capacity: number
  readonly #ages: Uint8Array
  /** By page: its frame, or -1. */
  readonly #frameOf: Int32Array
  readonly #pageIn: Int32Array
  /** By page: the stamp of its shadow. */
  readonly #shadows: Int32Array
  readonly #policy: ReclaimPolicy

  constructor(capacity: number, pages: number, policyFor: (ages: Ages) => ReclaimPolicy) {
    const ages = new Uint8Array(capacity)
    this.#capacity = capacity
    this.#ages = ages
    this.#frameOf = new Int32Array(pages).fill(-1)
    this.#pageIn = new Int32Array(capacity).fill(-1)
    this.#shadows = new Int32Array(pages).fill(NEVER)
    this.#policy = policyFor({
      get: (frame) => ages[frame]!,
      set: (frame, age) => {
        ages[frame] = age
      },
    })
  }

  access(page: number): boolean {
    const frame = this.#frameOf[page]!
    if (frame >= 0) {
      if (this.#ages[frame]! < AGE_MAX) this.#ages[frame]!++
      return true
    }
    this.#load(page, this.#policy.size < this.#capacity ? this.#policy.size : this.#evict())
    return false
  }

  #evict(): number {
    const frame = this.#policy.victim(ALL_MAY_GO)
    const page = this.#pageIn[frame]!
    this.#frameOf[page] = -1
    this.#shadows[page] = this.#policy.stampOf(frame)
    return frame
  }

  #load(page: number, frame: number): void {
    // As if those no longer worth keeping had been pruned.
    const shadow = this.#shadows[page]!
    this.#policy.insert(frame, shadow !== NEVER && this.#policy.isWorthKeeping(shadow) ? shadow : NEVER)
    this.#shadows[page] = NEVER
    this.#frameOf[page] = frame
    this.#pageIn[frame] = page
  }

  checkInvariants(): void {
    this.#policy.checkInvariants()
    expectAtMost(this.#policy.size, this.#capacity, 'frames')
  }
}
