/**
 * What each worker has served: counters that only it writes, and anybody reads. A reader may see a count that is one
 * behind; nothing waits.
 *
 * ```
 * per worker, float64:  per opcode: count · errors · seconds · histogram of 24 powers of two microseconds
 *                       then: bytes read from homes · bytes read from files · bytes filled into kernel copies · failures · bytes read from the arena · of them from afar · pages read where they lie
 * ```
 */
const OPCODES = 64
export const HISTOGRAM_BUCKETS = 24
const PER_OPCODE = 3 + HISTOGRAM_BUCKETS
const BYTES_FROM_HOMES = OPCODES * PER_OPCODE
const BYTES_FROM_FILES = BYTES_FROM_HOMES + 1
const BYTES_COPIED = BYTES_FROM_HOMES + 2
const FAILURES = BYTES_FROM_HOMES + 3
const BYTES_FROM_ARENA = BYTES_FROM_HOMES + 4
const BYTES_FROM_AFAR = BYTES_FROM_HOMES + 5
const PAGES_DIRECT = BYTES_FROM_HOMES + 6
const PER_WORKER = BYTES_FROM_HOMES + 8

export interface OpcodeStats {
  count: number
  errors: number
  seconds: number
  /** `histogram[i]`: requests that took less than 2^i microseconds (and not less than half of it). */
  histogram: number[]
}

export class RequestStats {
  readonly #values: Float64Array

  static allocate(workers: number): SharedArrayBuffer {
    return new SharedArrayBuffer(workers * PER_WORKER * 8)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#values = new Float64Array(buffer)
  }

  record(worker: number, opcode: number, error: number, seconds: number): void {
    const at = worker * PER_WORKER + (opcode & (OPCODES - 1)) * PER_OPCODE
    const values = this.#values
    values[at]!++
    if (error !== 0) values[at + 1]!++
    values[at + 2]! += seconds
    const bucket = 32 - Math.clz32(seconds * 1e6)
    values[at + 3 + (bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1)]!++
  }

  addFromHomes(worker: number, bytes: number): void {
    this.#values[worker * PER_WORKER + BYTES_FROM_HOMES]! += bytes
  }

  addFromFiles(worker: number, bytes: number): void {
    this.#values[worker * PER_WORKER + BYTES_FROM_FILES]! += bytes
  }

  addFromArena(worker: number, bytes: number): void {
    this.#values[worker * PER_WORKER + BYTES_FROM_ARENA]! += bytes
  }

  /** Of what was read from the arena: from memory of another NUMA node than the worker was on. */
  addFromAfar(worker: number, bytes: number): void {
    this.#values[worker * PER_WORKER + BYTES_FROM_AFAR]! += bytes
  }

  /** Of what was read from homes: pages that were read on their device. */
  addDirect(worker: number, pages: number): void {
    this.#values[worker * PER_WORKER + PAGES_DIRECT]! += pages
  }

  addCopied(worker: number, bytes: number): void {
    this.#values[worker * PER_WORKER + BYTES_COPIED]! += bytes
  }

  addFailure(worker: number): void {
    this.#values[worker * PER_WORKER + FAILURES]!++
  }

  get bytesFromHomes(): number {
    return this.#sum(BYTES_FROM_HOMES)
  }
  get bytesFromFiles(): number {
    return this.#sum(BYTES_FROM_FILES)
  }
  get bytesFromArena(): number {
    return this.#sum(BYTES_FROM_ARENA)
  }
  get bytesFromAfar(): number {
    return this.#sum(BYTES_FROM_AFAR)
  }
  get pagesDirect(): number {
    return this.#sum(PAGES_DIRECT)
  }
  get bytesCopied(): number {
    return this.#sum(BYTES_COPIED)
  }
  get failures(): number {
    return this.#sum(FAILURES)
  }

  /** All workers' counters of one opcode, summed. */
  opcode(code: number): OpcodeStats {
    const at = code * PER_OPCODE
    return {
      count: this.#sum(at),
      errors: this.#sum(at + 1),
      seconds: this.#sum(at + 2),
      histogram: Array.from({ length: HISTOGRAM_BUCKETS }, (_, i) => this.#sum(at + 3 + i)),
    }
  }

  #sum(at: number): number {
    let sum = 0
    for (let base = 0; base < this.#values.length; base += PER_WORKER) sum += this.#values[base + at]!
    return sum
  }
}
