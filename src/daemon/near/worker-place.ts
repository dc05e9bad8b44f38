/**
 * On which NUMA node a worker runs, and when it goes to another one.
 *
 * It is the worker's CPU that copies: from the arena to its reply, and, in write(2), from there to the client's memory. So a client has near memory only if the worker is on his node: elsewhere either the page
 * or the client is far. The kernel gives a request to whichever worker waits longest, so the worker goes to the client; his CPU is idle, for he waits. To go costs as much as copying some
 * hundred kilobytes from afar does. So it goes when it has copied so many for clients of other nodes, one after the other: never at more than twice the cost of what would have been best, whatever
 * the requests are (ski rental: Karlin, Manasse, Rudolph, Sleator, "Competitive snoopy caching", 1988).
 *
 * It stays until it goes elsewhere: left to itself the scheduler takes it away from the client's CPU, which looks busy to it, at its next breath.
 *
 * Pure: whoever makes one says how to go. Context: the worker's thread.
 */

/**
 * By published latencies (docs/numa.md) each of the two copies of a byte costs 0.09 ns more from afar; to go takes 20 to 25 µs where CPUs are not busy: some 128 KiB. Twice that,
 * for the caches that the worker leaves behind.
 */
const GO_BYTES = 256 << 10

export class WorkerPlace {
  readonly #current: () => number
  readonly #go: (node: number) => void
  #bytes = 0

  /** `current`: the node that this thread is on now. `go`: to the CPUs of another one, if it may run there. */
  constructor(current: () => number, go: (node: number) => void) {
    this.#current = current
    this.#go = go
  }

  /** The worker is about to copy `bytes` for a client on `node`: the node from which it does so. */
  serve(node: number, bytes: number): number {
    const here = this.#current()
    if (here === node) {
      this.#bytes = 0
      return here
    }
    this.#bytes += bytes
    if (this.#bytes < GO_BYTES) return here
    this.#bytes = 0
    this.#go(node)
    return this.#current()
  }
}
