/**
 * Makes unnamed files of one file system, for homes, and waits for none of them for long: while the file system is frozen (fsfreeze, a snapshot, a backup) nothing can be made in it, but all of it can be read, and an open that
 * waits for a home is to go on without one.
 *
 * Nobody can end a system call that waits so, and each takes a thread of the libuv pool, which reads extents, too. So there is one at a time. It is not the file system's fault where the pool is busy: patience is
 * counted while the pool takes up what it is given.
 *
 * Context: one thread.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ERRNO, SystemError } from '../linux/errors.ts'

interface UnnamedFilesParts {
  /** Makes one, by one or two calls in the pool: a descriptor. */
  readonly open: () => Promise<number>
  readonly close: (fd: number) => Promise<unknown>
  /** Resolves when the pool has taken up all that it was given before. */
  readonly poolIsThere: () => Promise<unknown>
  /** More than a journal that is being written takes, as a rule. */
  readonly patienceMs: number
}

interface Waiting {
  resolve(fd: number): void
  reject(error: unknown): void
}

export class UnnamedFiles {
  readonly #parts: UnnamedFilesParts
  #waiting: Waiting[] = []
  #isMaking = false
  /** The one that is being made has been given up. */
  #isStuck = false

  constructor(parts: UnnamedFilesParts) {
    this.#parts = parts
  }

  /** A descriptor, the caller's. Rejects with EAGAIN where none can be had now. */
  make(): Promise<number> {
    if (this.#isStuck) return Promise.reject(notNow())
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      if (!this.#isMaking) void this.#makeAll()
    })
  }

  async #makeAll(): Promise<void> {
    this.#isMaking = true
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) await this.#makeFor(next)
    this.#isMaking = false
  }

  async #makeFor({ resolve, reject }: Waiting): Promise<void> {
    const made = new AbortController()
    void this.#giveUpUnless(made.signal, reject)
    try {
      const fd = await this.#parts.open()
      if (this.#isStuck) await this.#parts.close(fd)
      else resolve(fd)
    } catch (error) {
      reject(error)
    } finally {
      made.abort()
      this.#isStuck = false
    }
  }

  /** Called when `open` has given the pool its first call. The second one, if there is one, waits for its turn as well. */
  async #giveUpUnless(made: AbortSignal, reject: (error: unknown) => void): Promise<void> {
    for (let call = 0; call < 2; call++) {
      await this.#parts.poolIsThere()
      await sleep(this.#parts.patienceMs / 2, undefined, { signal: made }).catch(() => {})
      if (made.aborted) return
    }
    this.#isStuck = true
    for (const other of this.#waiting.splice(0)) other.reject(notNow())
    reject(notNow())
  }
}

const notNow = () => new SystemError(ERRNO.EAGAIN, 'open O_TMPFILE')
