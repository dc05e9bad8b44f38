/**
 * A thread that reads: runs the cache's own code, and can be interrupted, or killed, before each of its loads.
 *
 * JavaScript cannot stop in the middle of a function. So a call is begun again each time that the thread goes on: what its first accesses gave is remembered and given to
 * it again, until it comes to where it was. The code of readers allows that, for it changes nothing but memory; see {@link ReaderThread.once} for what does.
 */
import type { Random } from '../random.ts'
import type { Executor, Machine } from './machine.ts'
import type { Processor } from './sim-memory.ts'

/** Thrown out of a call that has to wait for its turn. */
const SUSPENDED = new Error('the thread is suspended')

/** No call needs more. */
const ACCESSES_MAX = 1000

export type Program = Generator<void, void, void>

export class ReaderThread implements Executor {
  readonly number: number
  readonly processor: Processor
  isDead = false
  /** Does not run before that moment. */
  sleepsUntil = 0
  readonly #machine: Machine
  readonly #random: Random
  #program: Program | undefined
  /** What the accesses of the call under way gave, and to which addresses they were. */
  #results: unknown[] = []
  #addresses: number[] = []
  #at = 0
  /** Accesses that it may still do in this turn. */
  #turn = 0
  #isCalling = false

  constructor(number: number, machine: Machine, processor: Processor, random: Random) {
    this.number = number
    this.#machine = machine
    this.processor = processor
    this.#random = random
  }

  start(program: Program): void {
    this.#program = program
  }

  get isRunning(): boolean {
    return this.#program !== undefined
  }

  /** Whether it is on its way to an entry: the longer that takes, the more may happen to it. */
  get isInIndex(): boolean {
    return this.processor.isInIndex
  }

  /** Goes on for at most so many accesses. */
  run(accesses: number): void {
    const { executor } = this.#machine
    this.#machine.executor = this
    this.#turn = accesses
    this.processor.drain()
    if (this.#program?.next().done === true) this.#program = undefined
    this.#machine.executor = executor
  }

  /** Nothing more happens but what may be on its way to memory. */
  kill(): void {
    this.#program = undefined
    this.isDead = true
    if (this.#random.chance(0.5)) this.processor.flush()
  }

  /** The result of `body`, in as many turns as it takes. */
  *call<T>(body: () => T): Generator<void, T, void> {
    this.#results = []
    this.#addresses = []
    for (;;) {
      if (this.#turn <= 0) yield
      this.#at = 0
      this.#isCalling = true
      try {
        return body()
      } catch (error) {
        if (error !== SUSPENDED) throw error
      } finally {
        this.#isCalling = false
      }
    }
  }

  /** Does in a call what must not be done again. It must not load. */
  once<T>(body: () => T): T {
    if (!this.#isCalling) return body()
    if (this.#at < this.#results.length) return this.#results[this.#at++] as T
    this.#isCalling = false
    const result = body()
    this.#isCalling = true
    this.#remember(-1, result)
    return result
  }

  load(address: number): number {
    return this.#access(address, () => this.processor.load(address))
  }

  loadAtomic(address: number): number {
    return this.#access(address, () => this.processor.loadAtomic(address))
  }

  change(address: number, to: (before: number) => number): number {
    return this.#access(address, () => this.processor.change(address, to))
  }

  store(address: number, value: number): void {
    this.once(() => this.processor.store(address, value))
  }

  storeAtomic(address: number, value: number): void {
    this.once(() => this.processor.storeAtomic(address, value))
  }

  #access(address: number, body: () => number): number {
    if (!this.#isCalling) throw new Error('a load outside a call')
    if (this.#at < this.#results.length) {
      if (this.#addresses[this.#at] !== address) throw new Error('the same call took another way the second time')
      return this.#results[this.#at++] as number
    }
    if (this.#turn <= 0) throw SUSPENDED
    if (this.#results.length > ACCESSES_MAX) throw new Error('a call goes round in circles')
    this.#turn--
    const result = body()
    if (this.isInIndex && this.#random.chance(0.3)) this.#turn = 0
    this.#remember(address, result)
    return result
  }

  #remember(address: number, result: unknown): void {
    this.#results.push(result)
    this.#addresses.push(address)
    this.#at++
  }
}
