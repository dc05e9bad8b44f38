/**
 * What carries requests from the kernel and answers back to it: the device. The server above knows the interface only. docs/ARCHITECTURE.md says why
 * io_uring queues are not another one.
 */
import { ERRNO } from '../linux/errors.ts'
import { read, schedYield, waitReadable, write } from '../linux/fuse-device.ts'
import type { Reply, Request } from './messages.ts'

/** So many second looks in a row say that the client runs on this CPU. */
const SECOND_LOOKS = 8
/** For so many requests that is believed, or until there is none for a while. */
const YIELDS = 64

export interface Channel {
  /** Blocks until a request stands in `request`; its bytes, 0 where there is none after all, or -errno (ENODEV: unmounted). */
  receive(request: Request): number
  /** Answers with the first `bytes` of `reply`; 0 or -errno (ENOENT: the request was interrupted and is gone). */
  send(reply: Reply, bytes: number): number
}

/**
 * A channel over a descriptor of /dev/fuse (non-blocking). It spins briefly before it sleeps, because most of a
 * FUSE request's time is the waking of a sleeping process on another CPU; between two looks it yields, so that a
 * client on the same CPU is not kept from asking. Where that is what the next request waits for, time after time, it yields before it looks.
 */
export class DeviceChannel implements Channel {
  readonly #fd: number
  readonly #spins: number
  readonly #leave: () => boolean
  /** How often in a row the second look found what the first had not; below 0: as many requests are received before that is asked again. */
  #secondLooks = 0

  /**
   * `spins`: how often to look for a request before sleeping (0: sleep at once). `leave` is asked before sleeping whether
   * this reader should leave instead; `receive` then returns 0.
   */
  constructor(fd: number, spins: number, leave: () => boolean) {
    this.#fd = fd
    this.#spins = spins
    this.#leave = leave
  }

  receive(request: Request): number {
    const { bytes } = request
    if (this.#secondLooks < 0) schedYield()
    for (let i = 0; i < this.#spins; i++) {
      const length = read(this.#fd, bytes, bytes.length)
      if (length !== -ERRNO.EAGAIN) {
        this.#looked(i)
        return retriable(length)
      }
      schedYield()
    }
    this.#secondLooks = 0
    if (this.#leave()) return 0
    const ready = waitReadable(this.#fd, -1)
    return retriable(ready < 0 ? ready : read(this.#fd, bytes, bytes.length))
  }

  /** A request was there after `vain` looks that found none. */
  #looked(vain: number): void {
    if (this.#secondLooks < 0) this.#secondLooks++
    else if (vain !== 1) this.#secondLooks = 0
    else if (++this.#secondLooks === SECOND_LOOKS) this.#secondLooks = -YIELDS
  }

  send(reply: Reply, bytes: number): number {
    const written = write(this.#fd, reply.bytes, bytes)
    return Math.min(written, 0)
  }
}

/** Errors after which one simply asks again: somebody else took the request, a signal came, it was aborted. */
function retriable(length: number): number {
  return length === -ERRNO.EAGAIN || length === -ERRNO.EINTR || length === -ERRNO.ENOENT ? 0 : length
}
