/**
 * Files at rest. A file that has changed less than 20 ms ago (`CTIME_GRANULE_MS` of src/) is served by itself and shares nothing: before Linux 6.13
 * two changes within a tick of the clock get the same ctime, so the next change might not be seen. Who tests what is shared waits until what he has
 * written is older than that.
 *
 * It is a wait by the clock because there is nothing to wait for: the ctime alone decides, and an open that asks too early gets another answer, which
 * holds while the file is open. On a loaded machine it only becomes longer, and that harms no test.
 */
import { setTimeout as sleep } from 'node:timers/promises'

/** Three times as long as is needed: a ctime can lie behind the clock by a tick, which is up to 10 ms. */
export const SETTLED_MS = 60

/** Returns when all that was changed before is at rest. */
export async function settle(): Promise<void> {
  await sleep(SETTLED_MS)
}
