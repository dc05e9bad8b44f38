/**
 * Which pages get replicas: those that earn more than they cost.
 *
 * Prices are in a unit of which the machine's own table of distances is made: to read a page of one's own node costs 10, from a node at distance 21 it costs 21. So a hit in a
 * replica **earns** the distance saved. It **costs** making it (the page is read from afar and written, once) and giving it up when the page is written.
 *
 * ```
 *   page wanted from afar:   samples × hits each × distance saved  ≥  making it × caution
 * ```
 * *Caution* is what adapts. In each round of samples the replicas' earnings are held against what making and losing them has cost: where it was more, caution doubles, and
 * where it was much less it is halved. A page whose replicas were lost has to show twice as many hits the next time; that is forgotten in some rounds.
 *
 * **A full cache**: a replica's frame could hold another page, which would earn what a miss costs, were it asked for. So replicas get a *budget* of frames that pages
 * cannot have. It grows step by step while replicas are wanted; each page that comes back after it was evicted is charged to them, and a round that ends with a loss halves it. A
 * miss is no sample, so a budget that turns hits into misses makes its own round longer: as soon as these have cost more than a round can earn, it is halved, too.
 *
 * Readers sample (hit-samples.ts); samples of a page fade by half each round, so it is rates that count.
 *
 * Context: the keeper's thread.
 */
import { FadingCounts, keyOfPage } from './fading-counts.ts'
import { FRAME_STATE } from './frames.ts'
import { SAMPLE_HITS } from './hit-samples.ts'
import type { PageKeeper } from './page-keeper.ts'

const LOCAL = 10
const MAKE = 30
const LOSE = 20
/** A page read from a fast disk: some 80 µs, where a page in memory takes 0.1. */
const MISS = 8000
/** Samples in a round. */
const ROUND = 4096
const CAUTION_MAX = 4096
const LOSSES_MAX = 8
/** Of the frames, what replicas may hold although pages want them, and by how much that may grow in a round, at least. */
const BUDGET_SHARE_MAX = 1 / 2
const BUDGET_STEP = 1 / 64
/** Rounds without a budget after one that ended with a loss; twice as many after the next. */
const PAUSE = 4
const PAUSE_MAX = 1024

export class ReplicaPolicy {
  readonly #keeper: PageKeeper
  /** What replicas can earn in a round at the most. */
  readonly #earnedMax: number
  /** By home and node: samples. */
  readonly #samples = new FadingCounts<number>()
  /** By mapping and page: how often replicas were lost. */
  readonly #losses = new FadingCounts<string>()
  #caution = 1
  /** Of this round. */
  #count = 0
  #earned = 0
  #spent = 0
  #refaultsBefore = 0
  #budgetBefore = 0
  /** Rounds to go until replicas may take frames from pages again, and how many that were the last time. */
  #pause = 0
  #pauseLast = PAUSE / 2

  /** `keeper` has replicas. */
  constructor(keeper: PageKeeper) {
    this.#keeper = keeper
    const { distances } = keeper.frames.nodes.table
    this.#earnedMax = ROUND * SAMPLE_HITS * (Math.max(...distances.flat()) - LOCAL)
    keeper.replicas!.onLoss = (mapping, page, count) => this.#lost(mapping, page, count)
    keeper.replicas!.onRefault = () => this.#refaulted()
  }

  get caution(): number {
    return this.#caution
  }

  /** A reader on `node` has found pages: pairs of frame and generation. */
  take(node: number, samples: Int32Array): void {
    const { frames } = this.#keeper
    const replicas = this.#keeper.replicas!
    for (let i = 0; i < samples.length; i += 2) {
      const frame = samples[i]!
      this.#count++
      if (frames.generation(frame) !== samples[i + 1] || frames.state(frame) !== FRAME_STATE.RESIDENT) continue
      const isReplica = replicas.mappings.includes(frames.mapping(frame))
      const home = isReplica ? frames.page(frame) : frame
      const saved = frames.nodes.distance(node, frames.nodes.nodeOf(home)) - LOCAL
      if (saved <= 0) continue
      if (isReplica) this.#earned += saved * SAMPLE_HITS
      else this.#wanted(node, home, saved)
    }
    if (this.#count >= ROUND) this.#endRound()
  }

  /** The page in `home` was read on `node`, which a replica would have made cheaper by `saved`. */
  #wanted(node: number, home: number, saved: number): void {
    const { frames } = this.#keeper
    // It was made since.
    if (this.#keeper.replicas!.has(home, node)) return
    const [mapping, page] = [frames.mapping(home), frames.page(home)]
    const key = home * frames.nodes.count + node
    const samples = this.#samples.add(key)
    const worth = samples * SAMPLE_HITS * saved
    // One sample may be of a page that is read once.
    const price = MAKE * this.#caution * 2 ** this.#losses.get(keyOfPage(mapping, page))
    if (samples < 2 || worth < price) return
    this.#samples.delete(key)
    if (this.#keeper.replicate(mapping, page, node) || this.#makeRoom(mapping, page, node)) this.#spent += MAKE
  }

  /** The cache is full: a page goes that is worth less, as far as known. */
  #makeRoom(mapping: number, page: number, node: number): boolean {
    const { frames } = this.#keeper
    const replicas = this.#keeper.replicas!
    const budget = replicas.counts.replicas + 1
    const step = Math.max(frames.limit * BUDGET_STEP, this.#budgetBefore / 2)
    if (this.#pause > 0 || budget > this.#budgetBefore + step || budget > frames.limit * BUDGET_SHARE_MAX) return false
    replicas.spare.budget = Math.max(replicas.spare.budget, budget)
    this.#keeper.makeRoom(node)
    return this.#keeper.replicate(mapping, page, node)
  }

  #lost(mapping: number, page: number, count: number): void {
    this.#spent += LOSE * count
    this.#losses.add(keyOfPage(mapping, page), LOSSES_MAX)
  }

  #refaulted(): void {
    const refaults = this.#keeper.counts.refaults - this.#refaultsBefore
    if (this.#keeper.replicas!.spare.budget === 0 || refaults * MISS <= this.#earnedMax) return
    this.#refaultsBefore = this.#keeper.counts.refaults
    this.#halveBudget()
  }

  #halveBudget(): void {
    const { spare } = this.#keeper.replicas!
    spare.budget = spare.budget > 1 / BUDGET_STEP ? spare.budget >> 1 : 0
    if (this.#pause === 0) this.#pause = this.#pauseLast = Math.min(PAUSE_MAX, this.#pauseLast * 2)
  }

  #endRound(): void {
    const { counts } = this.#keeper
    const replicas = this.#keeper.replicas!
    if (this.#spent > this.#earned) this.#caution = Math.min(CAUTION_MAX, this.#caution * 2)
    else if (this.#spent * 2 < this.#earned || this.#spent === 0) this.#caution = Math.max(1, this.#caution / 2)
    const refaults = counts.refaults - this.#refaultsBefore
    if (this.#pause > 0) this.#pause--
    else if (replicas.spare.budget > 0 && this.#spent + refaults * MISS > this.#earned) this.#halveBudget()
    this.#budgetBefore = replicas.spare.budget
    this.#refaultsBefore = counts.refaults
    this.#count = this.#earned = this.#spent = 0
    this.#samples.fade()
    this.#losses.fade()
  }
}
