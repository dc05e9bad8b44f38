/**
 * A device whose memory is read through windows: places that show a home, or zeros, and are never taken away. As many as there are homes, and one more; so most are soon used for
 * another.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { WindowHandle } from '../../library/windows.ts'
import { HOME_PAGES, type SimHome } from './files.ts'
import type { Machine } from './machine.ts'
import { type Region, type SimMemory, WINDOWS_RANK } from './sim-memory.ts'
import { byteOf, SIMULATED_BYTES } from './truth.ts'

const PLACES = 2
const PLACE_WORDS = HOME_PAGES.length * SIMULATED_BYTES.length
const WINDOW_BYTES = (Math.max(...HOME_PAGES) + 1) * PAGE_BYTES

export class Device {
  /** Looks at bytes. */
  looks = 0
  readonly #memory: SimMemory
  readonly #machine: Machine
  readonly #words: Region
  readonly #free = Array.from({ length: PLACES }, (_, place) => place)

  constructor(memory: SimMemory, machine: Machine) {
    this.#memory = memory
    this.#machine = machine
    this.#words = memory.add(PLACES * PLACE_WORDS, 2, WINDOWS_RANK)
  }

  /** A window on the home; undefined where no place is left. */
  open(home: SimHome): WindowHandle | undefined {
    const place = this.#free.shift()
    if (place === undefined) return undefined
    this.#show(place, home)
    return { address: place, capacity: WINDOW_BYTES, bytes: WINDOW_BYTES, isSampled: true }
  }

  close({ address }: WindowHandle): void {
    this.#show(address, undefined)
    this.#free.push(address)
  }

  /** The bytes of a window, in one segment. */
  view({ address, capacity }: WindowHandle): Uint8Array[] {
    return [
      this.#machine.array(capacity, (offset) => {
        this.looks++
        return this.#addressOf(address, Math.floor(offset / PAGE_BYTES), offset % PAGE_BYTES)
      }),
    ]
  }

  /** A system call: everybody sees it at once. */
  #show(place: number, home: SimHome | undefined): void {
    for (const page of HOME_PAGES)
      for (const offset of SIMULATED_BYTES)
        this.#memory.commit(this.#addressOf(place, page, offset), byteOf(home?.values.get(page) ?? 0, offset))
  }

  #addressOf(place: number, page: number, offset: number): number {
    const index = HOME_PAGES.indexOf(page as 0) * SIMULATED_BYTES.length + SIMULATED_BYTES.indexOf(offset as 0)
    return this.#words.base + place * PLACE_WORDS + index
  }
}
