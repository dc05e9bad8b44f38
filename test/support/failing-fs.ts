/**
 * Calls of node:fs that fail when a test wants them to. Import it before what is tested: some of the functions are taken at import.
 *
 *     faults.failNth(3)            // the third call from now on
 *     faults.failNth(3, true)      // and all behind it
 */
import fs from 'node:fs'
import { promisify } from 'node:util'

/** What the library asks of the file system, but for closing. */
const SYNC = [
  'openSync',
  'fstatSync',
  'readSync',
  'readvSync',
  'writeSync',
  'ftruncateSync',
  'fsyncSync',
  'fdatasyncSync',
] as const
const CALLBACK = ['open', 'read', 'readv', 'write', 'writev', 'fsync', 'fdatasync'] as const

type AnyFunction = (...args: unknown[]) => unknown

class Faults {
  /** Calls since the last {@link failNth} or {@link heal}. */
  calls = 0
  failed = 0
  #nth = Number.POSITIVE_INFINITY
  #isForGood = false

  failNth(nth: number, isForGood = false): void {
    this.heal()
    this.#nth = nth
    this.#isForGood = isForGood
  }

  heal(): void {
    this.calls = this.failed = 0
    this.#nth = Number.POSITIVE_INFINITY
  }

  /** The error of this call, if it is to fail. */
  next(syscall: string): Error | undefined {
    this.calls++
    if (this.calls < this.#nth || (this.calls > this.#nth && !this.#isForGood)) return undefined
    this.failed++
    return Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: 'EIO', errno: -5, syscall })
  }
}

export const faults = new Faults()

const functions = fs as unknown as Record<string, AnyFunction>

for (const name of SYNC) {
  const original = functions[name]!
  functions[name] = (...args) => {
    const error = faults.next(name)
    if (error !== undefined) throw error
    return original(...args)
  }
}

for (const name of CALLBACK) {
  const original = promisify(functions[name] as (callback: (error: unknown) => void) => void) as unknown as AnyFunction
  const failing = async (...args: unknown[]) => {
    const error = faults.next(name)
    if (error !== undefined) throw error
    return original(...args)
  }
  functions[name] = Object.assign(
    () => {
      throw new Error(`${name} with a callback is not prepared for faults`)
    },
    { [promisify.custom]: failing },
  )
}
