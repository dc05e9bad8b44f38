/**
 * Runs asynchronous actors one step at a time, in an order that a seed chooses.
 *
 * Wherever an actor awaits {@link pause}, any other may go on first: that is what "between any two steps" means in the
 * simulation. Between two pauses nobody interferes. Virtual time passes with the steps and with nothing else.
 */
import type { Random } from './random.ts'

export class Scheduler {
  /** Steps taken: the time line on which histories are kept. */
  step = 0
  readonly #random: Random
  readonly #parked: (() => void)[] = []
  #actors = 0
  #failure: unknown
  #hasFailed = false

  constructor(random: Random) {
    this.#random = random
  }

  /** Lets others go first, or not. */
  pause(): Promise<void> {
    return new Promise((resolve) => this.#parked.push(resolve))
  }

  /** Starts an actor; the first failure of any ends the run. */
  start(actor: () => Promise<void>): void {
    this.#actors++
    this.pause()
      .then(actor)
      .catch((error: unknown) => {
        if (!this.#hasFailed) this.#failure = error
        this.#hasFailed = true
      })
      .finally(() => this.#actors--)
  }

  /** Runs until all actors are done. `onStep` is called before each step. Throws an actor's failure, or when nobody can go on. */
  async run(onStep: () => void): Promise<void> {
    while (this.#actors > 0) {
      if (this.#hasFailed) throw this.#failure
      if (this.#parked.length === 0) throw new Error(`step ${this.step}: all actors wait for each other`)
      this.step++
      onStep()
      const index = this.#random.below(this.#parked.length)
      const resume = this.#parked[index]!
      const last = this.#parked.pop()!
      if (last !== resume) this.#parked[index] = last
      resume()
      // All that follows from the step without another pause happens before this timer's turn.
      await new Promise(setImmediate)
    }
    if (this.#hasFailed) throw this.#failure
  }
}
