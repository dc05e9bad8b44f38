/** The clock and the timers of this thread, for what is given those of a simulation in tests. */

/** What Node.js can wait for at a time: nearly 25 days. For longer it would not wait at all. */
const MS_MAX = 2 ** 31 - 1

export const TIMERS = {
  /** In milliseconds, from anywhere on. */
  now: () => performance.now(),

  /** Calls `run` after so many milliseconds, unless the function that it returns is called before. */
  after(ms: number, run: () => void): () => void {
    const timer = setTimeout(run, Math.min(ms, MS_MAX))
    return () => clearTimeout(timer)
  },
}
