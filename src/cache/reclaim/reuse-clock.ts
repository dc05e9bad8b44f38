/**
 * The cache's reclaim policy: two clocks, and shadows that say how far apart two uses of a page were.
 *
 * ```
 *              new page                                    refault, reuse distance short enough
 *                 │                                                        │
 *                 ▼            hit twice                                   ▼
 *   evicted ← [ cold  fifo ] ─────────────────────────────────────▶ [ hot  clock ] → evicted
 *       │       ▲       │ hit once: another lap                      ▲        │         │
 *       │       └───────┘                                            └────────┘         │
 *       │                                                      hit: age - 1, another lap│
 *       └──▶ shadow: cold, since when it was there          shadow: hot, when it went ◀─┘
 * ```
 *
 * **Time** makes one step, a tick, whenever a page is loaded, becomes hot, or has another lap in the hot list. Hits themselves do not make it pass. Each
 * frame has the time at which it came to the head of its list.
 *
 * **What a scan does**: its pages come into the cold list, are not hit there, and go. The cold list can be as small as 1% of the frames, so that
 * costs the hot ones next to nothing.
 *
 * **Who becomes hot** is LIRS's question (Jiang and Zhang, 2002). The *reuse distance* of a page that misses again is the time since it was put into
 * the cold list, which its shadow tells. The oldest hot page has not been hit since it came to its head, so its own distance is at
 * least the time since then. If the refaulting page's is shorter, it is worth more than that page, and takes its place:
 *
 * ```
 *        stamp of A                 head of the oldest hot page         stamp of B       now
 *   ─────────┼──────────────────────────────────┼────────────────────────┼───────────┼──▶ time
 *            A refaults: stays cold                                       B refaults: hot
 * ```
 * In a loop that does not fit nobody's distance is shorter than anybody else's, so the hot pages stay and are hit every round, where LRU,
 * ARC and S3-FIFO throw out each page just before it is wanted. LIRS moves a page at each hit to know its distance. Here nobody hears of
 * hits; so before the question is asked, hot pages that were hit are taken from the tail to the head (CLOCK-Pro, Jiang, Chen and Zhang, 2005,
 * does so only when it needs a victim, which here would cost loops everything). An age above one lets a hot page have several laps: so what is hit often stays
 * longer than what is hit once in a lap, as in S3-FIFO (Yang et al., 2023), which is worth points where popularity is skewed.
 *
 * **How large the cold list is to be** is ARC's question (Megiddo and Modha, 2003), and Linux's (mm/workingset.c). A page that went from the cold list, and whose
 * distance is within the cache's size, would have been found had the cold list been larger: it grows. A page that went
 * from the hot list, and is wanted again as soon, says the opposite. A step weighs more the rarer evictions of that kind are (as ARC does by its
 * ghosts' numbers) and the shorter the distance. A loop that does not fit makes no step at all.
 *
 * What did not pay, measured on the traces of bench/traces: demoting hot pages to the cold list instead of evicting them (-3
 * points), counting every hit once (-0.5), steps that are all alike (-2), and S3-FIFO's fixed tenth for the cold list (loops).
 * `npm run bench -- --only policies` prints what it is worth beside LRU, ARC, 2Q, LIRS and S3-FIFO.
 *
 * Stamp, 24 bits:
 * ```
 *   bit 23       1: went from the hot list
 *   bits 22 … 0  time in grains, modulo 2^23: when it came into the cold list, or when it went from the hot list
 * ```
 * A grain is one tick up to 2^18 frames and grows with the capacity, so that time comes round after more than eight times as long as
 * a shadow is worth keeping.
 *
 * Invariants: a frame is in one list at most; coldTarget is within its bounds; no frame's age is looked at without being lowered, so
 * that every walk ends.
 */
import { Lists } from './lists.ts'
import { type Ages, NEVER, type ReclaimPolicy, STAMP_BITS } from './policy.ts'

const HOT = 0
const COLD = 1

const FROM_HOT = 1 << (STAMP_BITS - 1)
const TIME_MASK = FROM_HOT - 1

/** The cold list's share of the frames: at the start and at least, and at most. */
const COLD_MIN = 0.01
const COLD_MAX = 0.9
/** A shadow tells something for as long as this many times the frames were filled. */
const HISTORY = 3
/** Hot pages that are taken to the head before a refault is judged: bounds what a miss costs. */
const REFRESH_MAX = 64

export class ReuseClock implements ReclaimPolicy {
  readonly #ages: Ages
  readonly #lists: Lists
  /** By frame: the time at which it came to its list's head; once evicted, its stamp. */
  readonly #times: Uint32Array
  readonly #capacity: number
  readonly #grainBits: number
  #frames: number
  #now = 0
  #coldTarget: number
  /** Nothing was evicted yet: pages go to the hot list until it is full. */
  #isFilling = true
  /** Evictions from either list, the older the less they count. */
  #hotEvictions = 0
  #coldEvictions = 0

  /** For `capacity` frames, at most 2^26, all of them wanted until {@link resize}. */
  constructor(capacity: number, ages: Ages) {
    this.#ages = ages
    this.#capacity = capacity
    this.#lists = new Lists(capacity, 2)
    this.#times = new Uint32Array(capacity)
    this.#grainBits = Math.max(0, Math.ceil(Math.log2(8 * HISTORY * capacity)) - (STAMP_BITS - 1))
    this.#frames = capacity
    this.#coldTarget = this.#coldMin()
  }

  get size(): number {
    return this.#lists.size(HOT) + this.#lists.size(COLD)
  }

  /** How many frames the cold list is to have. For status and tests. */
  get coldTarget(): number {
    return this.#coldTarget
  }

  insert(frame: number, stamp: number): void {
    this.#tick()
    const isHot = stamp === NEVER ? this.#isFilling && this.#hasHotRoom() : this.#judge(stamp)
    this.#put(isHot ? HOT : COLD, frame)
  }

  insertCold(frame: number): void {
    this.#tick()
    this.#put(COLD, frame)
  }

  remove(frame: number): void {
    this.#lists.remove(frame)
  }

  victim(mayEvict: (frame: number) => boolean): number {
    const lists = this.#lists
    this.#isFilling = false
    // Of each list, how many were found that may not go: once all are, the other one has to give.
    let coldKept = 0
    let hotKept = 0
    // Ages end every walk; readers who hit faster than we look do not make one longer than this.
    for (let steps = 6 * this.size; steps > 0; steps--) {
      const hasCold = coldKept < lists.size(COLD)
      const hasHot = hotKept < lists.size(HOT)
      if (!hasCold && !hasHot) return -1
      if (hasCold && (!hasHot || lists.size(COLD) >= Math.floor(this.#coldTarget))) {
        const frame = lists.tail(COLD)
        if (!mayEvict(frame)) {
          this.#put(COLD, frame)
          coldKept++
        } else if (this.#keepCold(frame)) continue
        else return this.#evict(frame, COLD)
      } else {
        const frame = lists.tail(HOT)
        if (!mayEvict(frame)) {
          this.#toHotHead(frame)
          hotKept++
        } else if (this.#keepHot(frame)) continue
        else return this.#evict(frame, HOT)
      }
    }
    return this.#anyVictim(mayEvict)
  }

  stampOf(frame: number): number {
    return this.#times[frame]!
  }

  isWorthKeeping(stamp: number): boolean {
    return this.#distance(stamp) <= HISTORY * this.#frames
  }

  resize(frames: number): void {
    if (frames < 1 || frames > this.#capacity) throw new RangeError(`${frames} frames of ${this.#capacity}`)
    this.#coldTarget *= frames / this.#frames
    this.#frames = frames
    this.#moveColdTarget(0)
  }

  checkInvariants(): void {
    this.#lists.checkInvariants()
    const dump = `hot ${this.#lists.size(HOT)}, cold ${this.#lists.size(COLD)} of ${this.#coldTarget}, frames ${this.#frames}, now ${this.#now}`
    if (!(this.#coldTarget >= 1 && this.#coldTarget <= Math.max(1, this.#frames)))
      throw new Error(`cold target: ${dump}`)
    if (!(this.#hotEvictions >= 0 && this.#coldEvictions >= 0)) throw new Error(`evictions: ${dump}`)
  }

  /** A page is back: whether it is to be hot. Learns from it, too, how large the cold list should be. */
  #judge(stamp: number): boolean {
    const distance = this.#distance(stamp)
    const isFromHot = (stamp & FROM_HOT) !== 0
    const isShorter = this.#beatsOldestHot(distance)
    const isHot = distance <= HISTORY * this.#frames && (this.#hasHotRoom() || (isShorter && !isFromHot))
    if (distance <= this.#frames) {
      const weight = 2 * (1 - distance / this.#frames)
      const hot = Math.max(1, this.#hotEvictions)
      const cold = Math.max(1, this.#coldEvictions)
      this.#moveColdTarget(weight * (isFromHot ? -Math.max(1, cold / hot) : Math.max(1, hot / cold)))
    }
    return isHot
  }

  /** Whether a page with this reuse distance is wanted more often than the oldest hot one, which is brought up to date first. */
  #beatsOldestHot(distance: number): boolean {
    const now = this.#now
    for (let i = 0; i <= REFRESH_MAX; i++) {
      const oldest = this.#lists.tail(HOT)
      if (oldest < 0) return true
      if (!this.#keepHot(oldest)) return distance < ((now - this.#times[oldest]!) | 0)
    }
    // Hit wherever we look: nobody is worth more than these.
    return false
  }

  #hasHotRoom(): boolean {
    return this.#lists.size(HOT) < this.#frames - this.#coldTarget
  }

  /** The time since a stamp, in ticks. */
  #distance(stamp: number): number {
    return (((this.#now >>> this.#grainBits) - stamp) & TIME_MASK) * 2 ** this.#grainBits
  }

  #tick(): void {
    this.#now = (this.#now + 1) >>> 0
  }

  #moveColdTarget(by: number): void {
    const min = this.#coldMin()
    this.#coldTarget = Math.max(min, Math.min(Math.floor(COLD_MAX * this.#frames), this.#coldTarget + by))
  }

  #coldMin(): number {
    return Math.max(1, Math.floor(COLD_MIN * this.#frames))
  }

  #put(list: number, frame: number): void {
    this.#ages.set(frame, 0)
    this.#times[frame] = this.#now
    this.#lists.push(list, frame)
  }

  /** If the oldest cold frame was hit it stays: once for another lap, more often as a hot one. */
  #keepCold(frame: number): boolean {
    const age = this.#ages.get(frame)
    if (age === 0) return false
    this.#put(age === 1 ? COLD : HOT, frame)
    if (age > 1) this.#tick()
    return true
  }

  /** If the oldest hot frame was hit it has another lap. */
  #keepHot(frame: number): boolean {
    const age = this.#ages.get(frame)
    if (age === 0) return false
    this.#ages.set(frame, age - 1)
    this.#toHotHead(frame)
    return true
  }

  #toHotHead(frame: number): void {
    this.#times[frame] = this.#now
    this.#tick()
    this.#lists.push(HOT, frame)
  }

  #evict(frame: number, list: number): number {
    const time = list === HOT ? this.#now : this.#times[frame]!
    this.#lists.remove(frame)
    this.#times[frame] = ((time >>> this.#grainBits) & TIME_MASK) | (list === HOT ? FROM_HOT : 0)
    if (list === HOT) this.#hotEvictions++
    else this.#coldEvictions++
    if (this.#hotEvictions + this.#coldEvictions >= this.#frames / 2) {
      this.#hotEvictions /= 2
      this.#coldEvictions /= 2
    }
    return frame
  }

  /** Whatever may go, hit or not. */
  #anyVictim(mayEvict: (frame: number) => boolean): number {
    for (const list of [COLD, HOT])
      for (let frame = this.#lists.tail(list); frame >= 0; frame = this.#lists.newer(frame))
        if (mayEvict(frame)) return this.#evict(frame, list)
    return -1
  }
}
