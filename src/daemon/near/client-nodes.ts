/**
 * On which NUMA node a client is. A request names the thread that it is of, not the CPU: /proc says where that runs, or ran last, and it is waiting now. To look costs as much as a small read does, so what was
 * seen is believed for a while: threads seldom leave a node.
 *
 * Pure: whoever makes one says how to look. Context: one worker's thread.
 */

/** The scheduler balances between nodes some hundred times less often than it could. */
const BELIEVED_MS = 100
/** Threads to remember; beyond that all are forgotten. */
const THREADS_MAX = 1024

interface Seen {
  node: number
  untilMs: number
}

export class ClientNodes {
  readonly #nodeOf: (tid: number) => number
  readonly #nowMs: () => number
  readonly #seen = new Map<number, Seen>()

  /** `nodeOf`: of a thread, -1 where that cannot be seen. `nowMs`: of a clock that never goes back. */
  constructor(nodeOf: (tid: number) => number, nowMs: () => number = () => performance.now()) {
    this.#nodeOf = nodeOf
    this.#nowMs = nowMs
  }

  /** The node of thread `tid`, or undefined: it has gone, is not in this process's PID namespace (0), or is the kernel's own. */
  of(tid: number): number | undefined {
    const now = this.#nowMs()
    let seen = this.#seen.get(tid)
    if (seen === undefined) {
      if (this.#seen.size === THREADS_MAX) this.#seen.clear()
      seen = { node: -1, untilMs: Number.NEGATIVE_INFINITY }
      this.#seen.set(tid, seen)
    }
    if (now >= seen.untilMs) {
      seen.node = this.#nodeOf(tid)
      seen.untilMs = now + BELIEVED_MS
    }
    return seen.node < 0 ? undefined : seen.node
  }
}
