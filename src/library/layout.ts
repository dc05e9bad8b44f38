/** How one open file is served, as a thread sees it: which mapping its own pages are in, and which of its pages are homes'. */
import type { OwnPages } from '../cache/own-pages.ts'
import { OwnPages as Own } from '../cache/own-pages.ts'
import { RunMap } from '../cache/run-map.ts'

/** Can be sent to another thread. */
export interface LayoutHandle {
  readonly mapping: number
  /** To be added to the numbers of mappings: the node whose mappings they are, where each has its own. */
  readonly node?: number
  /** {@link FileLayout.version} */
  readonly version: number
  /** Undefined: all pages are the file's own. */
  readonly shared?: { readonly map: SharedArrayBuffer; readonly own: SharedArrayBuffer; readonly homes: Int32Array }
}

export class FileLayout {
  readonly mapping: number
  /** As {@link Lookup.layoutOf} says as long as this layout is right. */
  readonly version: number
  readonly map: RunMap | undefined
  /** Pages that have become the file's own since the map was made. */
  readonly own: OwnPages | undefined
  /** Mappings of homes, by the home's number. */
  readonly #homes: Int32Array
  readonly #node: number

  constructor({ mapping, node = 0, version, shared }: LayoutHandle) {
    this.#node = node
    this.mapping = mapping + node
    this.version = version
    this.map = shared && RunMap.attach(shared.map)
    this.own = shared && new Own(shared.own)
    this.#homes = shared?.homes ?? NO_HOMES
  }

  mappingOfHome(number: number): number {
    return this.#homes[number]! + this.#node
  }
}

const NO_HOMES = new Int32Array(0)
