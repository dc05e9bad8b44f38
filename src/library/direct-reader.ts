/**
 * Reading pages of homes and devices where they lie: through windows, which show a device's memory. A thread's own.
 *
 * A home's bytes never change, so what is read through its window is right, whatever its entries say by then, as long as the window is the home's. That it was is known when the
 * file's layout, looked at afterwards, is still the one that named it: a window is closed after that has changed.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { HitSampler } from '../cache/hit-samples.ts'
import type { Lookup } from '../cache/lookup.ts'
import { OWN } from '../cache/run-map.ts'
import type { FileLayout } from './layout.ts'
import type { Windows } from './windows.ts'

export class DirectReader {
  readonly #lookup: Lookup
  readonly #windows: Windows
  readonly #sampler: HitSampler

  /** `send` is given samples, pairs of mapping and page. */
  constructor(lookup: Lookup, windows: Windows, send: (samples: Int32Array) => void) {
    this.#lookup = lookup
    this.#windows = windows
    this.#sampler = new HitSampler(send)
  }

  /**
   * Copies `count` bytes of the file's page from `within` on, which is a home's or a device's, to `target` at `at`. False where there is no window on it. What was copied counts only if the
   * layout is current afterwards.
   */
  copy(layout: FileLayout, page: number, within: number, target: Uint8Array, at: number, count: number): boolean {
    const { map } = layout
    map?.seek(page * PAGE_BYTES)
    const home = map === undefined ? OWN : map.home
    const window = layout.windowOf(home)
    const position = (map === undefined ? page * PAGE_BYTES : map.offset) + within
    if (window === undefined || position + count > window.bytes) return false
    this.#windows.copy(window, position, target, at, count)
    this.#lookup.fence()
    if (window.isSampled) this.#sampler.found(layout.mappingOfHome(home), Math.floor(position / PAGE_BYTES))
    return true
  }
}
