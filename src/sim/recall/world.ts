/** All that takes part in a run of the simulation of recall, and what they share. */
import { RECALL_MS } from '../../exclusive/messages.ts'
import type { Random } from '../random.ts'
import { Scheduler } from '../scheduler.ts'
import { VirtualTimers } from '../virtual-timers.ts'
import { type GrantMemory, SimFile } from './sim-file.ts'
import { SimMount } from './sim-mount.ts'
import { Truth } from './truth.ts'
import type { SimConnection } from './wire.ts'

const FILES = 2
const PAGES = 3
/** By then everybody has come to an end, however seldom he had his turn. */
const STEPS_MAX = 60_000

export interface Counts {
  hits: number
  misses: number
  recalls: number
  grants: number
  publishes: number
  /** Publishes that failed for want of space. */
  noSpace: number
  /** Wishes that were refused since a cache did not answer, or somebody was in the way. */
  silent: number
  /** Publishes that were, likewise. */
  unheard: number
  /** Requests that did not wait. */
  refusedRequests: number
  cut: number
  deaths: number
}

export class World {
  readonly random: Random
  readonly scheduler: Scheduler
  readonly timers = new VirtualTimers()
  readonly truth = new Truth(
    Array.from({ length: FILES }, (_, i) => `file ${i}`),
    PAGES,
  )
  readonly files: readonly SimFile[]
  readonly memories: GrantMemory[] = []
  readonly connections: SimConnection[] = []
  readonly mount: SimMount
  readonly counts: Counts = {
    hits: 0,
    misses: 0,
    recalls: 0,
    grants: 0,
    publishes: 0,
    noSpace: 0,
    silent: 0,
    unheard: 0,
    refusedRequests: 0,
    cut: 0,
    deaths: 0,
  }
  /** When somebody was stopped last, or time went on without anybody's having his turn. */
  #lastSilenceAt = Number.NEGATIVE_INFINITY
  /** Who has something to do yet. */
  readonly #busy = new Set<string>()
  #pausesOfMount = 0

  constructor(random: Random) {
    this.random = random
    this.scheduler = new Scheduler(random)
    this.files = Array.from({ length: FILES }, (_, i) => new SimFile(this, i, PAGES))
    this.mount = new SimMount(this)
  }

  pause(): Promise<void> {
    return this.scheduler.pause()
  }

  /** The same for the grants' thread, which goes on when all others are done. */
  async pauseInMount(): Promise<void> {
    this.#pausesOfMount++
    await this.pause()
    this.#pausesOfMount--
  }

  start(name: string, run: () => Promise<void>): void {
    this.#busy.add(name)
    this.scheduler.start(async () => {
      await run()
      this.#busy.delete(name)
    })
  }

  /** Workers go on while the grants' thread does something at once. */
  interleave(): void {
    for (let i = this.random.below(4); i > 0; i--) this.mount.workerStep()
  }

  /** Until all are done. Throws what somebody has thrown, or where somebody waits for ever. */
  async run(): Promise<void> {
    for (const step of [() => this.mount.workerStep(), () => this.mount.threadStep(), () => this.#passTime()])
      this.scheduler.start(async () => {
        while (!this.#isDone) {
          await this.pause()
          step()
        }
      })
    await this.scheduler.run(() => {
      if (this.scheduler.step > STEPS_MAX) throw new Error(`nobody ends: ${[...this.#busy].join(', ')}`)
    })
  }

  /** A process is stopped now. */
  hearSilence(): void {
    this.#lastSilenceAt = this.timers.now()
  }

  /** Lets time go on without anybody's having his turn. */
  leap(ms: number): void {
    this.timers.pass(ms)
    this.hearSilence()
  }

  /** Throws where a cache is said not to answer, and all do. */
  checkSilence(message: string): void {
    if (message.includes('does not give the range up') && this.timers.now() - this.#lastSilenceAt > 3 * RECALL_MS)
      throw new Error(`${message}, says the mount, and all answer`)
  }

  get busyCount(): number {
    return this.#busy.size
  }

  get #isDone(): boolean {
    return (
      this.#busy.size === 0 &&
      this.#pausesOfMount === 0 &&
      this.mount.isIdle &&
      !this.connections.some(({ isReadable }) => isReadable)
    )
  }

  #passTime(): void {
    this.timers.pass(this.random.below(40))
  }
}
