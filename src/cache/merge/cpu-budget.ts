/**
 * How much of a processor looking for equal pages may take: a share of it, over time.
 *
 * ```
 *   credit   0 ─────────────── half ─────────────── all: BURST_MS of the share
 *                │  loads may spend │ loads and the scan may │  ◀── grows by the share of the time that goes by
 * ```
 * Loads come in bursts, and merge as they come while there is credit; beyond that their pages are left to the scan. The scan spends no faster than the share in any
 * stretch of time, and leaves the lower half of the credit to loads.
 *
 * Pure: the clock is a parameter.
 */
const BURST_MS = 30_000

export class CpuBudget {
  readonly #share: number
  readonly #nowMs: () => number
  readonly #creditMax: number
  #credit: number
  #at: number

  /** `share` of one processor, above 0 and up to 1: then there is no limit. `nowMs`: of a clock that never goes back. */
  constructor(share: number, nowMs: () => number) {
    this.#share = share
    this.#nowMs = nowMs
    this.#creditMax = share * BURST_MS
    this.#credit = this.#creditMax
    this.#at = nowMs()
  }

  /** Whether a load may be looked at now. */
  get isAffordable(): boolean {
    return this.#share >= 1 || this.#renewed() > 0
  }

  /** So many milliseconds of a processor were used. */
  spend(ms: number): void {
    this.#credit = this.#renewed() - ms
  }

  /** For how many milliseconds the scan has to rest, having worked for `ms` (which was spent already). */
  restAfter(ms: number): number {
    if (this.#share >= 1) return 0
    const missing = this.#creditMax / 2 - this.#renewed()
    return Math.max((ms * (1 - this.#share)) / this.#share, missing / this.#share)
  }

  #renewed(): number {
    const now = this.#nowMs()
    this.#credit = Math.min(this.#creditMax, this.#credit + (now - this.#at) * this.#share)
    this.#at = now
    return this.#credit
  }
}
