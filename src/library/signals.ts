/**
 * Signals of callers. As Node.js has it, whatever has `aborted` is one: an AbortSignal of another realm, or what a library made for old browsers. So of all others nothing is taken for granted, and
 * whether one is accepted does not depend on whether anybody has to wait.
 */
import { setMaxListeners } from 'node:events'
import { wrongType } from './arguments.ts'

/** Throws ERR_INVALID_ARG_TYPE unless it is a signal, or not given; null is none. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined) return
  if (typeof signal !== 'object' || signal === null || !('aborted' in signal))
    throw wrongType(`a signal is an AbortSignal, not ${signal === null ? 'null' : `a ${typeof signal}`}`)
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal)
}

/** Of one that has aborted. */
export function reasonOf(signal: AbortSignal): unknown {
  return signal.reason ?? new DOMException('This operation was aborted', 'AbortError')
}

/** Calls `listener` when it aborts, until the returned function is called. One that tells nobody is only looked at in between. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  // One signal may be of as many calls as anybody likes: Node.js would take them for a leak.
  if (signal instanceof EventTarget) setMaxListeners(0, signal)
  signal.addEventListener?.('abort', listener, { once: true })
  return () => signal.removeEventListener?.('abort', listener)
}

/** Whether it tells when it aborts, on which streams of Node.js rely. */
export function canBeHeard(signal: AbortSignal): boolean {
  return [signal.addEventListener, signal.removeEventListener].every((method) => typeof method === 'function')
}

/** Rejects as soon as the signal aborts; what `promise` does goes on. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const unheard = onAbort(signal, () => reject(reasonOf(signal)))
    promise.then(resolve, reject).finally(unheard)
  })
}
