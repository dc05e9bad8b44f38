/** Time that goes on when it is told to. */
import type { Timers } from '../cache/grants/grant-authority.ts'

export class VirtualTimers implements Timers {
  #now = 0
  #alarms: { readonly at: number; readonly run: () => void }[] = []

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    const alarm = { at: this.#now + ms, run }
    this.#alarms.push(alarm)
    return () => {
      this.#alarms = this.#alarms.filter((other) => other !== alarm)
    }
  }

  get pending(): number {
    return this.#alarms.length
  }

  /** Lets so many milliseconds pass; what is due is run in its order. */
  pass(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = this.#alarms.filter(({ at }) => at <= end)
      const next = due.sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#alarms = this.#alarms.filter((alarm) => alarm !== next)
      this.#now = next.at
      next.run()
    }
    this.#now = end
  }
}
