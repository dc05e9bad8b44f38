/**
 * Homes keep blocks that their files have overwritten. So where the source is full, homes that nobody uses go, as do warm files, and what failed for want of
 * space is tried again. Writes that the kernel passes through fail without a word to the daemon: for them idle homes go before it is full.
 *
 * ```
 * word 0   times that the keeper has made space      written by the keeper; workers wait for it
 * ```
 */
import type { Request } from '../fuse/messages.ts'
import type { Handler } from '../fuse/server.ts'
import { ERRNO } from '../linux/errors.ts'
import { Statfs } from '../linux/statfs.ts'

/** Dropping a home in many pieces takes btrfs seconds. */
const PATIENCE_MS = 20_000
/** A worker does not ask more often. */
const AGAIN_MS = 2000

/** A file system with less than this part of it free, and less than so many bytes, is nearly full. */
const NEARLY_FULL_PART = 0.02
const NEARLY_FULL_BYTES = 1 << 30

export class Space {
  readonly #words: Int32Array
  #waitedAtMs = Number.NEGATIVE_INFINITY

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(4)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
  }

  /** The keeper has dropped what it could. */
  made(): void {
    Atomics.add(this.#words, 0, 1)
    Atomics.notify(this.#words, 0)
  }

  /**
   * A worker waits until the keeper, whom `ask` tells, has made space. False where it did so a moment ago: what fails again and again, as with a
   * quota that is used up, is not to cost everybody his homes again and again.
   */
  wait(ask: () => void): boolean {
    const now = performance.now()
    if (now - this.#waitedAtMs < AGAIN_MS) return false
    const before = Atomics.load(this.#words, 0)
    ask()
    Atomics.wait(this.#words, 0, before, PATIENCE_MS)
    this.#waitedAtMs = performance.now()
    return true
  }
}

/** A handler that tries once more what fails for want of space, where `makeSpace` has made some, and `isRepeatable` says that the request may be handled twice. */
export function retryWithSpace(
  handler: Handler,
  makeSpace: () => boolean,
  isRepeatable: (request: Request) => boolean = () => true,
): Handler {
  return (request, reply) => {
    const result = handler(request, reply)
    if (result !== -ERRNO.ENOSPC && result !== -ERRNO.EDQUOT) return result
    return isRepeatable(request) && makeSpace() ? handler(request, reply) : result
  }
}

/** Is the file system of `fd` soon full? */
export function isDiskNearlyFull(fd: number): boolean {
  const statfs = new Statfs()
  if (statfs.ofFd(fd) < 0) return false
  const free = statfs.bavail * statfs.frsize
  return free < NEARLY_FULL_BYTES && free < statfs.blocks * statfs.frsize * NEARLY_FULL_PART
}
