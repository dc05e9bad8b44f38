/** Waiting until all requests have been answered, or handed on, that workers have in hand now: those that come later see what was written before. A grace period, as in RCU. */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { Crew } from '../crew.ts'

/** Most requests take less than so many turns of the event loop; then it is looked less often. */
const TURNS = 20
const STEP_MS = 1

export async function answered(crew: Crew): Promise<void> {
  const inHand = crew.inHand()
  for (let looks = 0; !crew.haveAnswered(inHand); looks++) await (looks < TURNS ? turn() : sleep(STEP_MS))
}
