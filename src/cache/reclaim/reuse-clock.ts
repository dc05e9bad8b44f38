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
 * **Time** makes one step, a *tick*, whenever a page comes to the head of a list: loaded, become hot, or for another lap. Hits themselves do not make it
 * pass. Each frame has the time at which it came to its list's head.
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
 * hits; so before the question is asked, hot pages that were hit are taken from the tail to the head. (CLOCK-Pro, by Jiang, Chen and Zhang, 2005,
 * does so when it needs a victim, and then it may have to go all round at once.) A page that was hit more than once has several laps, as in
 * S3-FIFO (Yang et al., 2023): where popularity is skewed, that is worth more than exact recency.
 *
 * **What may not go** (pages that readers have pinned) is in use as long: it becomes hot where it is met, so that the cold list has room for what can go. It is
 * looked at once a lap, whichever list it lies in, however much of it there is.
 *
 * **How large the cold list is to be** is ARC's question (Megiddo and Modha, 2003), and Linux's (mm/workingset.c). A page that went from the cold list,
 * and whose distance is within the cache's size, would have been found had the cold list been larger: it grows. A page that
 * went from the hot list, and is wanted again as soon, says the opposite. A step weighs more the rarer evictions of that kind are (as ARC does by its
 * ghosts' numbers) and the shorter the distance. A loop that does not fit makes no step at all.
 *
 * **What it is worth**: miss ratios, in points behind the best of LRU, ARC, 2Q, S3-FIFO and LIRS, over the ten real traces of bench/traces at
 * five sizes (`npm run bench -- --only policies` prints each):
 *
 * ```
 *                   within one point   mean   worst      what changing this policy does      mean
 *   this policy               46 / 50   0.37    2.7      cold list fixed at 1%               1.10
 *   LIRS                      31 / 50   1.54    9.6      cold list fixed at 10%              0.79
 *   S3-FIFO                   27 / 50   2.97   16.2      a lap clears the age as a whole     0.60
 *   ARC                       21 / 50   4.20   40.2      steps that ignore rarity            0.59
 *   2Q                        16 / 50   4.48   24.8      one hit makes a cold page hot       0.50
 *   LRU                        8 / 50   7.86   40.4      steps that ignore the distance      0.45
 * ```
 * It is furthest behind where recency is all (the made-up traces 'drift', up to nine points behind LRU, and 'phases', six), because what is
 * hot takes laps to be forgotten, and in caches of a few dozen pages.
 *
 * Stamp, 24 bits:
 * ```
 *   bit 23       1: went from the hot list
 *   bits 22 … 0  time in grains, modulo 2^23: when it came into the cold list, or when it went from the hot list
 * ```
 * A grain is one tick up to 2^17 frames and grows with the capacity, so that time comes round after four times as long as a
 * shadow is worth keeping.
 *
 * Invariants: a frame is in one list at most; coldTarget is within its bounds.
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
/** A shadow tells something until this many times as many ticks have passed as there are frames. With 8: 45 of 50; with 3: 41. */
const HISTORY = 16
/** What bounds the time that a miss takes: hot pages taken to the head before a refault is judged, and frames looked at for a victim. */
const REFRESH_MAX = 64
const LOOKS_MAX = 256
/** Of these, in each list, frames that may not go. */
const KEPT_MAX = 16

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
  /** For {@link victim} alone. */
  readonly #kept = new Uint32Array(2)

  /** For `capacity` frames, at most 2^26, all of them wanted until {@link resize}. */
  constructor(capacity: number, ages: Ages) {
    this.#ages = ages
    this.#capacity = capacity
    this.#lists = new Lists(capacity, 2)
    this.#times = new Uint32Array(capacity)
    this.#grainBits = Math.max(0, Math.ceil(Math.log2(4 * HISTORY * capacity)) - (STAMP_BITS - 1))
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
    const isHot = stamp === NEVER ? this.#isFilling && this.#hasHotRoom() : this.#judge(stamp)
    this.#ages.set(frame, 0)
    this.#toHead(isHot ? HOT : COLD, frame)
  }

  insertCold(frame: number): void {
    this.#ages.set(frame, 0)
    this.#toHead(COLD, frame)
  }

  remove(frame: number): void {
    this.#lists.remove(frame)
  }

  victim(mayEvict: (frame: number) => boolean): number {
    const lists = this.#lists
    this.#isFilling = false
    // Of each list, how many were found that may not go: after some the other list has to give.
    const kept = this.#kept.fill(0)
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      const hasCold = lists.size(COLD) > 0 && kept[COLD]! < KEPT_MAX
      const hasHot = kept[HOT]! < Math.min(lists.size(HOT), KEPT_MAX)
      if (!hasCold && !hasHot) break
      const list = hasCold && (!hasHot || lists.size(COLD) >= Math.floor(this.#coldTarget)) ? COLD : HOT
      const frame = lists.tail(list)
      if (!mayEvict(frame)) {
        kept[list]!++
        this.#toHead(HOT, frame)
      } else if (list === COLD ? !this.#keepCold(frame) : !this.#keepHot(frame)) return this.#evict(frame, list)
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

  #moveColdTarget(by: number): void {
    const min = this.#coldMin()
    this.#coldTarget = Math.max(min, Math.min(Math.floor(COLD_MAX * this.#frames), this.#coldTarget + by))
  }

  #coldMin(): number {
    return Math.max(1, Math.floor(COLD_MIN * this.#frames))
  }

  /** If the oldest cold frame was hit it stays: once for another lap, more often as a hot one. */
  #keepCold(frame: number): boolean {
    const age = this.#ages.get(frame)
    if (age === 0) return false
    this.#ages.set(frame, 0)
    this.#toHead(age === 1 ? COLD : HOT, frame)
    return true
  }

  /** If the oldest hot frame was hit it has another lap. */
  #keepHot(frame: number): boolean {
    const age = this.#ages.get(frame)
    if (age === 0) return false
    this.#ages.set(frame, age - 1)
    this.#toHead(HOT, frame)
    return true
  }

  #toHead(list: number, frame: number): void {
    this.#times[frame] = this.#now
    this.#now = (this.#now + 1) >>> 0
    this.#lists.push(list, frame)
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

  /** Too many were hit, or may not go: the first that may. */
  #anyVictim(mayEvict: (frame: number) => boolean): number {
    const frame = this.#firstThatMay(COLD, mayEvict)
    if (frame >= 0) {
      this.#passOver(COLD, frame)
      return this.#evict(frame, COLD)
    }
    const hot = this.#firstThatMay(HOT, mayEvict)
    if (hot < 0) return -1
    this.#passOver(HOT, hot)
    this.#passOver(COLD, -1)
    return this.#evict(hot, HOT)
  }

  /** The oldest in the list that may go, or -1. */
  #firstThatMay(list: number, mayEvict: (frame: number) => boolean): number {
    let frame = this.#lists.tail(list)
    while (frame >= 0 && !mayEvict(frame)) frame = this.#lists.newer(frame)
    return frame
  }

  /** What is older in the list than `frame` may not go. There may be as many as the cache has pages, and the next victim is not to be looked for among them again. */
  #passOver(list: number, frame: number): void {
    for (let kept = this.#lists.tail(list); kept !== frame; kept = this.#lists.tail(list)) this.#toHead(HOT, kept)
  }
}
