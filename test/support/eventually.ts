/** Waiting for what another process will do, without saying how long it takes. */
import { setTimeout as sleep } from 'node:timers/promises'

/** So long what will not happen has time to happen. Where it happens late, the test sees less; it never fails for that. */
const PENDING_MS = 100

/** What the promise settles with, or `waits` where it has not for a while. */
export function soon(promise: Promise<unknown>): Promise<unknown> {
  return Promise.race([promise.catch((error: Error) => error.message), sleep(PENDING_MS).then(() => 'waits')])
}

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
