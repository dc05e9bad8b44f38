/**
 * Which pages of devices are promoted to main memory: those that are read often, as long as that pays.
 *
 * Readers sample what they read on a device (hit-samples.ts), and samples of a page fade by half each round, so it is rates that count:
 *
 * ```
 *   page promoted:   samples  ≥  2 × caution × 2^(losses of the page)
 * ```
 * A promotion costs a copy, which some reads *pay* (direct-pages.ts). One that has not paid when its page is demoted, or some rounds later, is a **loss**. In each round losses are held
 * against promotions that have paid: where they are more, *caution* doubles. So where pages come and go before they pay, fewer are promoted, and soon none: the threshold is then more
 * than anybody reads a page before he goes on to others. Caution is halved after rounds without loss: after one at first, after twice as many each time that it has doubled again, so that
 * to try again costs next to nothing where nothing has changed. A promotion that pays ends that, and all is tried soon.
 *
 * **Room**: promoted pages take free frames, and the places of promoted pages that are read no more. Where all are read, nobody is replaced: a set that does not fit stays in part. From
 * pages that came from a disk they take frames only up to a *budget*. It grows step by step; a round in which a page came back after it was evicted halves it, and it grows no more for some rounds, twice
 * as many each time.
 *
 * It is the idea of replica-policy.ts, where a copy is far cheaper than a miss and the one that has it near by pays.
 *
 * Context: the keeper's thread.
 */
import { FadingCounts, keyOfPage } from './fading-counts.ts'
import { NO_FRAME } from './frames.ts'
import type { PageKeeper } from './page-keeper.ts'

/** One sample may be of a page that is read once. */
const SAMPLES_MIN = 2
/** Samples in a round. */
const ROUND = 1024
const CAUTION_MAX = 4096
const LOSSES_MAX = 8
/** Rounds in which a promoted page has to pay. */
const ROUNDS_TO_PAY = 4
/** Rounds without loss before caution is halved, at most. */
const PATIENCE_MAX = 1024
/** Of the frames, what promoted pages may hold although others want them. */
const BUDGET_SHARE_MAX = 1 / 8
/** Rounds in which the budget does not grow after pages came back; twice as many after the next time. */
const PAUSE = 4
const PAUSE_MAX = 1024

/** A promoted page that has not paid yet. */
interface Debt {
  readonly mapping: number
  readonly page: number
  readonly generation: number
  /** Rounds left. */
  rounds: number
}

export class DirectPolicy {
  readonly #keeper: PageKeeper
  /** By mapping and page. */
  readonly #samples = new FadingCounts<string>()
  readonly #losses = new FadingCounts<string>()
  /** By frame. */
  readonly #debts = new Map<number, Debt>()
  #caution = 1
  #patience = 1
  /** Rounds without loss. */
  #quiet = 0
  /** Of this round. */
  #count = 0
  #paid = 0
  #lost = 0
  #refaultsBefore = 0
  /** Rounds to go until the budget may grow, and how many that were the last time. */
  #pause = 0
  #pauseLast = PAUSE / 2

  /** `keeper` has direct pages. */
  constructor(keeper: PageKeeper) {
    this.#keeper = keeper
    keeper.direct!.onLoss = (mapping, page) => this.#lose(mapping, page)
  }

  get caution(): number {
    return this.#caution
  }

  /** A reader on `node` has read direct pages: pairs of mapping and page. */
  take(node: number, samples: Int32Array): void {
    for (let i = 0; i < samples.length; i += 2) this.#wanted(node, samples[i]!, samples[i + 1]!)
    this.#count += samples.length / 2
    if (this.#count >= ROUND) this.#endRound()
  }

  #wanted(node: number, mapping: number, page: number): void {
    const direct = this.#keeper.direct!
    // It was promoted since, or is not known any more.
    if (!direct.has(mapping, page)) return
    const key = keyOfPage(mapping, page)
    const samples = this.#samples.add(key)
    if (samples < SAMPLES_MIN * this.#caution * 2 ** this.#losses.get(key)) return
    this.#samples.delete(key)
    let frame = direct.promote(mapping, page, node)
    if (frame === NO_FRAME && this.#makeRoom(node)) frame = direct.promote(mapping, page, node)
    if (frame === NO_FRAME) return
    const generation = this.#keeper.frames.generation(frame)
    this.#debts.set(frame, { mapping, page, generation, rounds: ROUNDS_TO_PAY })
  }

  /** The cache is full: a promoted page goes that is read no more, or another page, within the budget. */
  #makeRoom(node: number): boolean {
    const { spare, counts } = this.#keeper.direct!
    if (this.#keeper.direct!.demoteCold()) return true
    if (counts.promoted >= spare.budget) return false
    this.#keeper.makeRoom(node)
    return true
  }

  #lose(mapping: number, page: number): void {
    this.#lost++
    this.#losses.add(keyOfPage(mapping, page), LOSSES_MAX)
  }

  #endRound(): void {
    this.#collect()
    if (this.#lost > this.#paid) {
      this.#caution = Math.min(CAUTION_MAX, this.#caution * 2)
      this.#patience = Math.min(PATIENCE_MAX, this.#patience * 2)
      this.#quiet = 0
    } else if (++this.#quiet >= this.#patience) {
      this.#caution = Math.max(1, this.#caution / 2)
      this.#quiet = 0
    }
    if (this.#paid > 2 * this.#lost) this.#patience = 1
    this.#setBudget()
    this.#count = this.#paid = this.#lost = 0
    this.#samples.fade()
    this.#losses.fade()
  }

  /** Looks who has paid. */
  #collect(): void {
    const { frames, direct } = this.#keeper
    for (const [frame, debt] of this.#debts) {
      const isThere = direct!.spare.has(frame) && frames.generation(frame) === debt.generation
      if (isThere && !direct!.hasPaid(frame) && --debt.rounds > 0) continue
      this.#debts.delete(frame)
      // Demoted, it has been counted already.
      if (!isThere) continue
      if (direct!.hasPaid(frame)) this.#paid++
      else this.#lose(debt.mapping, debt.page)
    }
  }

  #setBudget(): void {
    const { frames, counts, direct } = this.#keeper
    const { spare } = direct!
    const hasRefaults = counts.refaults > this.#refaultsBefore
    this.#refaultsBefore = counts.refaults
    if (hasRefaults) {
      spare.budget >>= 1
      this.#pause = this.#pauseLast = Math.min(PAUSE_MAX, this.#pauseLast * 2)
    } else if (this.#pause > 0) this.#pause--
    else spare.budget = Math.min(Math.floor(frames.limit * BUDGET_SHARE_MAX), Math.max(1, spare.budget * 2))
  }
}
