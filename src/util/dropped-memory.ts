/**
 * Shared memory is freed when no thread has a reference left, and V8 does not count it as a reason to look for garbage: a thread that
 * allocates little would hold on to all that it ever dropped. So what was dropped is counted, and garbage collected when it has become much.
 */
const COLLECT_BYTES = 64 << 20

/** One per thread. Collects only in a process that was started with --expose-gc. */
export class DroppedMemory {
  #bytes = 0

  /** Tells that this thread let go of `bytes` of shared memory. May take some milliseconds. */
  add(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < COLLECT_BYTES) return
    this.#bytes = 0
    globalThis.gc?.()
  }
}
