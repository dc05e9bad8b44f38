/** All that takes part in a run of the simulation of recall, and what they share. */
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
  /** Who has something to do yet. */
  readonly #busy = new Set<string>()

  constructor(random: Random) {
    this.random = random
    this.scheduler = new Scheduler(random)
    this.files = Array.from({ length: FILES }, (_, i) => new SimFile(this, i, PAGES))
    this.mount = new SimMount(this)
  }

  pause(): Promise<void> {
    return this.scheduler.pause()
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

  get #isDone(): boolean {
    return this.#busy.size === 0 && this.mount.isIdle && !this.connections.some(({ isReadable }) => isReadable)
  }

  #passTime(): void {
    const { random } = this
    this.timers.pass(random.chance(0.02) ? random.below(8000) : random.below(40))
  }
}
