/**
 * On which NUMA node a worker runs, and when it goes to another one.
 *
 * It is the worker's CPU that copies: from the arena to its reply, and, in write(2), from there to the client's memory. So a client has near memory only if the worker is on his node: elsewhere either the page
 * or the client is far. The kernel gives a request to whichever worker waits longest, so the worker goes to the client; his CPU is idle, for he waits. To go costs as much as copying some
 * hundred kilobytes from afar does. So it goes when it has copied so many more for clients of other nodes than for those of its own: when staying has cost what going does, as in ski rental (Karlin, Manasse,
 * Rudolph, Sleator, "Competitive snoopy caching", 1988). Clients of two nodes who take turns in small reads do not make it run to and fro.
 *
 * It is bound to the node until it goes elsewhere. Left free the scheduler moves it off again now and then, since the client keeps the CPU busy, and replicas are made where no client is.
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
  /** Copied for clients elsewhere, less what was copied for those here. */
  #bytesFar = 0

  /** `current`: the node that this thread is on now. `go`: to the CPUs of another one, if it may run there. */
  constructor(current: () => number, go: (node: number) => void) {
    this.#current = current
    this.#go = go
  }

  /** The worker is about to copy `bytes` for a client on `node`: the node from which it does so. */
  serve(node: number, bytes: number): number {
    const here = this.#current()
    if (here === node) {
      this.#bytesFar = Math.max(0, this.#bytesFar - bytes)
      return here
    }
    this.#bytesFar += bytes
    if (this.#bytesFar < GO_BYTES) return here
    this.#bytesFar = 0
    this.#go(node)
    return this.#current()
  }
}
