/** Signals that end a command, held back while something is half done that would be left behind. */
import { ENDING_SIGNALS } from '../util/signals.ts'

/**
 * From now on until the returned function is called no signal of these ends the process; one that comes meanwhile does when the event loop has come round after that, as it would have at
 * once. For what takes a moment, and waits for nobody.
 */
export function holdSignals(): () => void {
  let received: NodeJS.Signals | undefined
  const hold = (signal: NodeJS.Signals): void => {
    received ??= signal
  }
  for (const signal of ENDING_SIGNALS) process.on(signal, hold)
  const release = (): void => {
    for (const signal of ENDING_SIGNALS) process.off(signal, hold)
    if (received !== undefined) process.kill(process.pid, received)
  }
  // What came while this thread was busy is told when the event loop polls: it does between two immediates.
  return () => setImmediate(() => setImmediate(release))
}
