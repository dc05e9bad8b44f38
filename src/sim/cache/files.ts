/** Files and homes of the simulation: their pages, and how they are served. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { OwnPages } from '../../cache/own-pages.ts'
import { type Run, RunMap } from '../../cache/run-map.ts'
import type { LayoutHandle } from '../../library/layout.ts'
import type { WindowHandle } from '../../library/windows.ts'

/** Pages that files may have, one row in each run: indexes of one, two and three levels. In the first rows all lie in the same slot of their leaf. */
export const PAGES = [
  [0, 64, 128, 4096, 4160],
  [0, 64, 4096],
  [0, 1, 2, 63, 64, 65, 128, 4095, 4096, 4160],
] as const
export const FILE_BYTES = 4161 * PAGE_BYTES

/** Pages that homes may have. */
export const HOME_PAGES = [0, 1, 2, 64] as const

export interface SimHome {
  readonly number: number
  /** Values by page. They never change. */
  readonly values: ReadonlyMap<number, number>
  /** Its pages are merged with those of the same domain only. */
  readonly domain: number
  /** -1: no file lies in it now. */
  mapping: number
  /** On its bytes, where they lie on a device. */
  window: WindowHandle | undefined
  /** Files whose layout names it, and loads under way. */
  users: number
}

/** Where a page of a home is. */
export interface Place {
  readonly home: SimHome
  readonly page: number
}

export function valueAt(place: Place | undefined): number | undefined {
  return place?.home.values.get(place.page)
}

export class SimFile {
  readonly name: string
  readonly pages: readonly number[]
  readonly domain: number
  /** -1: the cache has forgotten it. */
  mapping = -1
  /** Threads that have it open, and loads under way. */
  users = 0
  /** Between the beginning of a write and its end: what it writes. */
  writing: { readonly page: number; readonly value: number } | undefined
  /** Pages that are clones of homes' pages. */
  readonly clones = new Map<number, Place>()
  /** Homes that the layout names. */
  homes: SimHome[] = []
  own: OwnPages | undefined
  /** Of pages that are granted, or being published: no home has anything to say about them. */
  readonly exclusives = new Set<number>()
  layout: LayoutHandle = { mapping: -1, version: 0 }

  constructor(name: string, pages: readonly number[], domain: number) {
    this.name = name
    this.pages = pages
    this.domain = domain
  }

  get isServedByHomes(): boolean {
    return this.own !== undefined
  }

  serveAlone(version: number): void {
    this.own = undefined
    this.homes = []
    this.layout = { mapping: this.mapping, version }
  }

  /** All clones are read from the homes, which are acquired already. `simulate`: puts a buffer into simulated memory. */
  serveByHomes(version: number, simulate: (buffer: SharedArrayBuffer) => void): void {
    const map = RunMap.build(this.#runs(), FILE_BYTES)
    const own = OwnPages.allocate(map.endOfRuns)
    simulate(own)
    this.own = new OwnPages(own)
    for (const page of this.exclusives) this.own.add(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
    this.homes = [...new Set([...this.clones.values()].map(({ home }) => home))]
    const mappings = new Int32Array(Math.max(...this.homes.map(({ number }) => number)) + 1).fill(-1)
    const windows: (WindowHandle | undefined)[] = []
    for (const home of this.homes) {
      mappings[home.number] = home.mapping
      windows[home.number] = home.window
    }
    this.layout = { mapping: this.mapping, version, shared: { map: map.buffer, own, homes: mappings, windows } }
  }

  #runs(): Run[] {
    const clones = [...this.clones].sort(([a], [b]) => a - b)
    return clones.map(([filePage, { home, page }]) => ({ filePage, pageCount: 1, home: home.number, homePage: page }))
  }
}
