/** For work that blocks the thread for long: events are handled, a signal among them, many times a second. */
import { setImmediate as breathe } from 'node:timers/promises'

const INTERVAL_MS = 10

/** A function to be called between steps of the work: it lets events be handled where that is due, and resolves with whether the work is to end then. */
export function breathing(isInterrupted: () => boolean): () => Promise<boolean> {
  let next_ms = performance.now() + INTERVAL_MS
  return async () => {
    if (performance.now() < next_ms) return false
    await breathe()
    next_ms = performance.now() + INTERVAL_MS
    return isInterrupted()
  }
}
