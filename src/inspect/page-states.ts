/**
 * Which pages of a file are in memory, dirty, or evicted but remembered: asked of the kernel without reading, writing or
 * touching a page.
 *
 * cachestat counts the pages of a range, mincore tells them apart, cheaply, but knows neither dirty nor evicted ones. So:
 * count a window; where all of its pages or none are in one state, that is the answer. Else mincore says which are
 * resident, and the few dirty or evicted ones are found by counting halves of halves.
 *
 * A file that changes meanwhile gives an answer in between; it never makes the search endless.
 */
import { CacheStat } from '../linux/cachestat.ts'
import { residentPages } from '../linux/mincore.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { PageState } from './ranges.ts'

/** Pages asked about at once: 16 MiB of a file. */
export const WINDOW_PAGES = 4096

/** A page in memory that is not yet on its way to the device, or has not arrived: its block may be about to change. */
export const DIRTY = 4
export type StateByte = PageState | typeof DIRTY

/** What is asked of the kernel, so that tests can answer instead. Pages are relative to the start of the file. */
export interface PageProbe {
  /** Counts the pages of [first, first + count) of `fd` into the fields below: 0 or -errno. */
  count(fd: number, first: number, count: number): number
  readonly cached: number
  readonly evicted: number
  /** Dirty or under writeback. */
  readonly unstable: number
  /** Writes 1 for each resident page, 0 for others; returns how many or -errno. */
  resident(fd: number, first: number, count: number, out: Uint8Array): number
}

/** The kernel's answers. */
class KernelProbe implements PageProbe {
  readonly #stat = new CacheStat()

  count(fd: number, first: number, count: number): number {
    return this.#stat.read(fd, first * PAGE_BYTES, count * PAGE_BYTES)
  }
  get cached(): number {
    return this.#stat.cached
  }
  get evicted(): number {
    return this.#stat.evicted
  }
  get unstable(): number {
    return this.#stat.dirty + this.#stat.writeback
  }
  resident(fd: number, first: number, count: number, out: Uint8Array): number {
    return residentPages(fd, first * PAGE_BYTES, count * PAGE_BYTES, out)
  }
}

/** The states of one window of pages at a time. */
export class PageStates {
  /** State of page `first + i` of the last window, by `i`. */
  readonly states = new Uint8Array(WINDOW_PAGES)
  readonly #probe: PageProbe

  constructor(probe: PageProbe = new KernelProbe()) {
    this.#probe = probe
  }

  /**
   * Fills `states` for `count` <= WINDOW_PAGES pages from page `first` on. `countable`: cachestat works on this file; if
   * not, mincore alone must do, and nobody knows what is dirty or evicted. Returns 0 or -errno.
   */
  read(fd: number, first: number, count: number, countable: boolean): number {
    const probe = this.#probe
    const states = this.states
    if (!countable) return this.#readResident(fd, first, count)

    const error = probe.count(fd, first, count)
    if (error < 0) return error
    const { cached, evicted, unstable } = probe
    if (cached === 0) states.fill(PageState.absent, 0, count)
    else if (cached >= count) states.fill(PageState.resident, 0, count)
    else if (this.#readResident(fd, first, count) !== cached) {
      // To those who may not write the file, older kernels' mincore calls every page resident: only counting tells.
      states.fill(PageState.absent, 0, count)
      this.#mark(fd, first, 0, count, 'cached', PageState.resident)
    }
    if (evicted > 0) this.#mark(fd, first, 0, count, 'evicted', PageState.evicted)
    if (unstable > 0) this.#mark(fd, first, 0, count, 'unstable', DIRTY)
    return 0
  }

  /** States by mincore alone. Returns the number of resident pages or -errno. */
  #readResident(fd: number, first: number, count: number): number {
    const states = this.states
    const resident = this.#probe.resident(fd, first, count, states)
    if (resident < 0) return resident
    for (let i = 0; i < count; i++) states[i] = states[i] === 1 ? PageState.resident : PageState.absent
    return resident
  }

  /** Gives `state` to the pages of [low, high) of the window which `field` counts, by halving. */
  #mark(
    fd: number,
    first: number,
    low: number,
    high: number,
    field: 'cached' | 'evicted' | 'unstable',
    state: StateByte,
  ): void {
    if (this.#probe.count(fd, first + low, high - low) < 0) return
    const found = this.#probe[field]
    if (found === 0) return
    if (found >= high - low) {
      this.states.fill(state, low, high)
      return
    }
    if (high - low === 1) return
    const middle = (low + high) >>> 1
    this.#mark(fd, first, low, middle, field, state)
    this.#mark(fd, first, middle, high, field, state)
  }
}
