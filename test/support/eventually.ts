/** Waiting for what another process will do, without saying how long it takes. */
import { setTimeout as sleep } from 'node:timers/promises'

/** Repeats `attempt` until it neither throws nor rejects, and returns its result; after `withinMs` the last error is thrown. */
export async function eventually<T>(attempt: () => T | Promise<T>, withinMs = 10_000): Promise<T> {
  const deadline = Date.now() + withinMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (Date.now() >= deadline) throw error
    }
    await sleep(50)
  }
}
