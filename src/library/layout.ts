/** How one open file is served, as a thread sees it: which mapping its own pages are in, and which of its pages are homes'. */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { OwnPages } from '../cache/own-pages.ts'
import { OwnPages as Own } from '../cache/own-pages.ts'
import { OWN, RunMap } from '../cache/run-map.ts'
import type { WindowHandle } from './windows.ts'

/** Can be sent to another thread. */
export interface LayoutHandle {
  readonly mapping: number
  /** To be added to the numbers of mappings: the node whose mappings they are, where each has its own. */
  readonly node?: number
  /** {@link FileLayout.version} */
  readonly version: number
  /** Undefined: all pages are the file's own. */
  readonly shared?: {
    readonly map: SharedArrayBuffer
    readonly own: SharedArrayBuffer
    readonly homes: Int32Array
    /** By home's number: windows on those whose pages are read where they lie. */
    readonly windows?: readonly (WindowHandle | undefined)[]
  }
  /** Of a device whose pages are read where they lie. */
  readonly window?: WindowHandle
  /** The file's own pages are not cached. */
  readonly isPast?: boolean
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
  readonly #windows: readonly (WindowHandle | undefined)[]
  readonly #window: WindowHandle | undefined
  readonly #isPast: boolean

  constructor({ mapping, node = 0, version, shared, window, isPast = false }: LayoutHandle) {
    this.#node = node
    this.mapping = mapping + node
    this.version = version
    this.map = shared && RunMap.attach(shared.map)
    this.own = shared && new Own(shared.own)
    this.#homes = shared?.homes ?? NO_HOMES
    this.#windows = shared?.windows ?? NO_WINDOWS
    this.#window = window
    this.#isPast = isPast
  }

  mappingOfHome(number: number): number {
    return this.#homes[number]! + this.#node
  }

  /** The window on a home, or with {@link OWN} on the device that the file is; undefined where there is none. */
  windowOf(home: number): WindowHandle | undefined {
    return home === OWN ? this.#window : this.#windows[home]
  }

  /** Whether nothing is cached of `page`: it is read past the cache. */
  isPast(page: number): boolean {
    if (!this.#isPast || this.map === undefined || this.own!.has(page)) return this.#isPast
    this.map.seek(page * PAGE_BYTES)
    return this.map.home === OWN
  }
}

const NO_HOMES = new Int32Array(0)
const NO_WINDOWS: readonly WindowHandle[] = []
