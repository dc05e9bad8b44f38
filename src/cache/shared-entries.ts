/**
 * `shared` entries: short cuts from a page of a file to the frame of a home's page.
 *
 * A page in a home is found by way of the file's runs, which takes a search among them, and then of the home's index. Where a file has many runs, the
 * answer is put into the file's own index. It costs eight bytes, and nothing is ever undone: when the frame is given up its generation changes, and all short cuts
 * to it lead nowhere at once, be they one or ten thousand. A page that becomes the file's own loses its entry like any other.
 */
import type { PageKeeper } from './page-keeper.ts'
import type { RunMap } from './run-map.ts'

/** With fewer runs the search is as short as the cut. */
const RUNS_MIN = 32

/** Context: the keeper's thread. */
export class Shortcuts {
  readonly #keeper: PageKeeper

  constructor(keeper: PageKeeper) {
    this.#keeper = keeper
  }

  /** `page` of `mapping`, the file of `map`, was found in a home's frame. */
  found(mapping: number, map: RunMap, page: number, frame: number, generation: number): void {
    if (map.runCount >= RUNS_MIN) this.#keeper.share(mapping, page, frame, generation)
  }
}
