/**
 * Who of the workers receives requests, in shared memory.
 *
 * One worker at a time is enough for most loads, and best: it stays warm on its CPU and is woken alone. So the
 * others are parked. A monitor looks every few milliseconds while anybody is busy, every millisecond where one worker does not keep up, and calls in
 * one more worker when all that are in are stuck in a request, or when they have been busy without a pause and there are CPUs left.
 * A worker that finds nothing to do parks again, unless it is the last that receives.
 *
 * ```
 * header  in          workers that receive or are busy            asleep    1: the monitor sleeps
 *         asked       messages to the keeper, by workers          heard     messages that the keeper has taken
 * record: 8 words per worker
 *   state      PARKED → RECEIVING → BUSY → RECEIVING …             written by the worker; PARKED → RECEIVING by the monitor;
 *              any → GONE: died, and nobody takes its place        by the keeper
 *   served     requests served, modulo 2^32                        the worker
 *   unique low/high                                                of another state than BUSY: the request that was answered last
 * ```
 */
import type { Request } from '../fuse/messages.ts'

export const WORKER_STATE = { PARKED: 0, RECEIVING: 1, BUSY: 2, GONE: 3 } as const

const HEADER_WORDS = 8
const IN = 0
const ASLEEP = 1
const ASKED = 2
const HEARD = 3
const NEVER = 4
const RECORD_WORDS = 8
const STATE = 0
const SERVED = 1
const UNIQUE_LOW = 2
const UNIQUE_HIGH = 3
/** No count of served requests. */
const NOTHING = -0.5

export class Crew {
  readonly size: number
  readonly #words: Int32Array

  static allocate(size: number): SharedArrayBuffer {
    return new SharedArrayBuffer((HEADER_WORDS + size * RECORD_WORDS) * 4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.size = (this.#words.length - HEADER_WORDS) / RECORD_WORDS
  }

  // Worker side.

  /** Parks worker `w` until it is called in, at most for `ms`: whether it is in now. Returns at once where it already is. */
  waitUntilCalled(w: number, ms: number): boolean {
    const at = this.#at(w)
    if (Atomics.load(this.#words, at + STATE) === WORKER_STATE.PARKED)
      Atomics.wait(this.#words, at + STATE, WORKER_STATE.PARKED, ms)
    return Atomics.load(this.#words, at + STATE) !== WORKER_STATE.PARKED
  }

  /** Worker `w` found nothing to do: it parks if another one still receives. Returns whether it parked. */
  parkUnlessLast(w: number): boolean {
    for (let count = Atomics.load(this.#words, IN); count > 1; count = Atomics.load(this.#words, IN)) {
      // Those that are busy may be so for long: only another one that waits for requests lets this one go.
      if (!this.#anotherReceives(w)) return false
      if (Atomics.compareExchange(this.#words, IN, count, count - 1) !== count) continue
      Atomics.store(this.#words, this.#at(w) + STATE, WORKER_STATE.PARKED)
      // Two that wait may have let each other go: one of them is called back.
      if (!this.#anotherReceives(w)) this.callIn(w)
      return true
    }
    return false
  }

  began(w: number, uniqueLow: number, uniqueHigh: number): void {
    const at = this.#at(w)
    Atomics.store(this.#words, at + STATE, WORKER_STATE.BUSY)
    // While it is busy nobody looks at these: they say what was answered last.
    this.#words[at + UNIQUE_LOW] = uniqueLow
    this.#words[at + UNIQUE_HIGH] = uniqueHigh
    if (Atomics.load(this.#words, ASLEEP) === 1) {
      Atomics.store(this.#words, ASLEEP, 0)
      Atomics.notify(this.#words, ASLEEP)
    }
  }

  ended(w: number): void {
    const at = this.#at(w)
    this.#words[at + SERVED]!++
    Atomics.store(this.#words, at + STATE, WORKER_STATE.RECEIVING)
  }

  /** A worker has sent the keeper a message. */
  asked(): void {
    Atomics.add(this.#words, ASKED, 1)
  }

  // Monitor side.

  /** Whether the keeper has taken a message, or had none to take, within the last `withinMs`. */
  keeperAnswers(nowMs: number, withinMs: number): boolean {
    const heard = Atomics.load(this.#words, HEARD)
    if (heard !== this.#heard || heard === Atomics.load(this.#words, ASKED)) {
      this.#heard = heard
      this.#heardAtMs = nowMs
    }
    return nowMs - this.#heardAtMs <= withinMs
  }
  #heard = 0
  #heardAtMs = 0

  /** Calls a parked worker in; false where it was not parked. */
  callIn(w: number): boolean {
    const at = this.#at(w)
    if (Atomics.compareExchange(this.#words, at + STATE, WORKER_STATE.PARKED, WORKER_STATE.RECEIVING) !== 0)
      return false
    Atomics.add(this.#words, IN, 1)
    Atomics.notify(this.#words, at + STATE)
    return true
  }

  callAnyIn(): boolean {
    for (let w = 0; w < this.size; w++) if (this.callIn(w)) return true
    return false
  }

  get workersIn(): number {
    return Atomics.load(this.#words, IN)
  }

  state(w: number): number {
    return Atomics.load(this.#words, this.#at(w) + STATE)
  }

  served(w: number): number {
    return Atomics.load(this.#words, this.#at(w) + SERVED)
  }

  /** Sleeps for `ms`, or, where `untilWoken`, until a worker begins a request. */
  sleep(ms: number, untilWoken: boolean): void {
    if (!untilWoken) {
      Atomics.wait(this.#words, NEVER, 0, ms)
      return
    }
    Atomics.store(this.#words, ASLEEP, 1)
    // Who began before that has woken nobody.
    if (!this.#anyBusy()) Atomics.wait(this.#words, ASLEEP, 1, 1000)
    Atomics.store(this.#words, ASLEEP, 0)
  }

  // Watcher side.

  /** Whether anybody has a request in hand. */
  get isBusy(): boolean {
    return this.#anyBusy()
  }

  /** What each worker has in hand now, for {@link haveAnswered}. */
  inHand(): number[] {
    return Array.from({ length: this.size }, (_, w) => (this.state(w) === WORKER_STATE.BUSY ? this.served(w) : NOTHING))
  }

  /** Whether all requests in `inHand` have been answered, or handed on. */
  haveAnswered(inHand: readonly number[]): boolean {
    return inHand.every(
      (served, w) => served === NOTHING || this.state(w) !== WORKER_STATE.BUSY || this.served(w) !== served,
    )
  }

  // Keeper side.

  /** The keeper has taken a message. */
  heard(): void {
    Atomics.add(this.#words, HEARD, 1)
  }

  /**
   * The request that worker `w` had in hand when it died, as [low, high], or undefined. `received`: what stands where it receives. That is a request
   * in hand, too, which it has not begun yet, unless it is the one that was answered last.
   */
  abandonedBy(
    w: number,
    { uniqueLow, uniqueHigh }: Pick<Request, 'uniqueLow' | 'uniqueHigh'>,
  ): [number, number] | undefined {
    const at = this.#at(w)
    const state = Atomics.load(this.#words, at + STATE)
    if (state === WORKER_STATE.PARKED) return undefined
    const isLast =
      this.#words[at + UNIQUE_LOW]! >>> 0 === uniqueLow && this.#words[at + UNIQUE_HIGH]! >>> 0 === uniqueHigh
    return isLast && state !== WORKER_STATE.BUSY ? undefined : [uniqueLow, uniqueHigh]
  }

  /** Worker `w` is no more; its number can be given to another, who starts parked, unless it is `gone` for good. */
  bury(w: number, gone = false): void {
    const state = gone ? WORKER_STATE.GONE : WORKER_STATE.PARKED
    if (Atomics.exchange(this.#words, this.#at(w) + STATE, state) !== WORKER_STATE.PARKED)
      Atomics.sub(this.#words, IN, 1)
  }

  #anotherReceives(w: number): boolean {
    for (let other = 0; other < this.size; other++)
      if (other !== w && this.state(other) === WORKER_STATE.RECEIVING) return true
    return false
  }

  #anyBusy(): boolean {
    for (let w = 0; w < this.size; w++) if (this.state(w) === WORKER_STATE.BUSY) return true
    return false
  }

  #at(w: number): number {
    return HEADER_WORDS + w * RECORD_WORDS
  }
}
