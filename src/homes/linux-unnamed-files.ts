/**
 * Makes unnamed files of one file system, for homes, and waits for none of them for long: while the file system is frozen (fsfreeze, a snapshot, a backup) nothing can be made in it, but all of it can be read, and an open that
 * waits for a home is to go on without one.
 *
 * Nobody can end a system call that waits so, and each takes a thread of the libuv pool, which reads extents, too. So there is one at a time.
 *
 * Context: one thread.
 */
import { ERRNO, SystemError } from '../linux/errors.ts'

export interface UnnamedFilesParts {
  /** Makes one: a descriptor. */
  readonly open: () => Promise<number>
  readonly close: (fd: number) => Promise<unknown>
  /** More than a journal that is being written takes, as a rule. */
  readonly patienceMs: number
}

export class UnnamedFiles {
  readonly #parts: UnnamedFilesParts
  /** Settles when all that are wanted have been made, or given up. */
  #last: Promise<unknown> = Promise.resolve()
  /** The one that is being made has been given up. */
  #isStuck = false

  constructor(parts: UnnamedFilesParts) {
    this.#parts = parts
  }

  /** A descriptor, the caller's. Rejects with EAGAIN where none can be had now. */
  make(): Promise<number> {
    if (this.#isStuck) return Promise.reject(notNow())
    return new Promise((resolve, reject) => {
      let isBegun = false
      let isGivenUp = false
      const giveUp = setTimeout(() => {
        isGivenUp = true
        if (isBegun) this.#isStuck = true
        reject(notNow())
      }, this.#parts.patienceMs)
      this.#last = this.#last.then(async () => {
        if (isGivenUp) return
        isBegun = true
        try {
          const fd = await this.#parts.open()
          if (isGivenUp) await this.#parts.close(fd)
          else resolve(fd)
        } catch (error) {
          reject(error)
        } finally {
          clearTimeout(giveUp)
          this.#isStuck = false
        }
      })
    })
  }
}

const notNow = () => new SystemError(ERRNO.EAGAIN, 'open O_TMPFILE')
