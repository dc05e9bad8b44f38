/**
 * What has to be undone, whatever happens: at the end, after an error, on Ctrl-C at any moment. All steps are synchronous, so that
 * a signal's handler and the process's exit can run them too.
 */
import fs from 'node:fs'
import { ENDING_SIGNALS } from '../util/signals.ts'

/** Whether it is one of the signals that end the demonstration. */
export const isInterruption = (signal: NodeJS.Signals | null): boolean => ENDING_SIGNALS.some((each) => each === signal)

export class Cleanup {
  readonly #steps: (() => void)[] = []

  /** Adds a step; steps run last first. Returns a function that runs it now, unless it has been run. */
  defer(step: () => void): () => void {
    this.#steps.push(step)
    return () => {
      const index = this.#steps.lastIndexOf(step)
      if (index < 0) return
      this.#steps.splice(index, 1)
      step()
    }
  }

  /** Forgets all steps. */
  cancel(): void {
    this.#steps.length = 0
  }

  /** Runs all steps, each once; one that throws does not keep the others from running. Throws the first error. */
  run(): void {
    const errors: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        step()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }
}

/**
 * Runs `body` with a {@link Cleanup} that runs when it ends in whatever way: also when the process exits, or is told to
 * end by a signal, which then ends it as it would have. `interrupted` is told first.
 */
export async function withCleanup<Result>(
  body: (cleanup: Cleanup) => Promise<Result>,
  interrupted: () => void = () => {},
): Promise<Result> {
  const cleanup = new Cleanup()
  const onExit = () => cleanup.run()
  const onSignal = (signal: NodeJS.Signals) => {
    interrupted()
    try {
      cleanup.run()
    } finally {
      off()
      process.kill(process.pid, signal)
    }
  }
  const off = () => {
    process.off('exit', onExit)
    for (const signal of ENDING_SIGNALS) process.off(signal, onSignal)
  }
  process.on('exit', onExit)
  for (const signal of ENDING_SIGNALS) process.on(signal, onSignal)
  try {
    return await body(cleanup)
  } finally {
    try {
      cleanup.run()
    } finally {
      off()
    }
  }
}

/** An open file: whoever still has it open when clean-up runs would keep its file system from being unmounted. */
export function openUntil(cleanup: Cleanup, file: string, flags: string): { fd: number; close: () => void } {
  const fd = fs.openSync(file, flags, 0o644)
  return { fd, close: cleanup.defer(() => fs.closeSync(fd)) }
}

/** Waits on this thread, events or not, until `condition` holds; false after `timeoutMs`. */
export function waitUntil(condition: () => boolean, timeoutMs: number): boolean {
  const deadline = Date.now() + timeoutMs
  while (!condition()) {
    if (Date.now() > deadline) return false
    Atomics.wait(sleeper, 0, 0, 20)
  }
  return true
}
const sleeper = new Int32Array(new SharedArrayBuffer(4))
