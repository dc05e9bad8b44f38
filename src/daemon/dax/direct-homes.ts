/**
 * Homes on DAX storage, which a mount with `--dax` reads where they lie: windows, through which workers copy from the device to their replies (direct-reads.ts), and with `auto`, which pages are
 * copied to the arena. The parts are the library's (library/direct-memory.ts); docs/dax.md says what holds.
 *
 * ```
 *   a run map is posted    its homes are held: each gets a window, once, of which all workers are told with the map
 *   a READ comes           the file is open, so its homes are held: the window is the home's (shared-homes.ts)
 *   a home is retired      nobody holds it, nor ever will: what it has in the arena goes, and its window shows zeros
 * ```
 * So a window needs no protocol of its own: it lives as long as the home's descriptor, which workers read from otherwise.
 *
 * A page gets its entry when it is first sampled, not when it is first read: a worker needs none to find a page on the device.
 *
 * Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { type DaxStats, DirectMemory, homesForDax } from '../../library/direct-memory.ts'
import type { Native } from '../../library/native.ts'
import type { WindowHandle } from '../../library/windows.ts'
import { SystemError } from '../../linux/errors.ts'
import type { MountArena } from '../content/mount-arena.ts'
import type { MountDaxMode } from '../shared-state.ts'

/** How a home is read where it lies; travels to workers. */
export interface DirectHome {
  readonly window: WindowHandle
  /** Where copies of its pages are found; absent: there are none. */
  readonly copies?: { readonly mapping: number; readonly version: number }
}

/** Pages are of 4096 bytes; counts are since the mount was made. */
export interface DirectStatistics extends Omit<DaxStats, 'directHits'> {
  readonly mode: MountDaxMode
  /** Homes that are read where they lie. */
  readonly homes: number
  /** Bytes that promoted pages, what leads to them, and what else is in the arena may take now; absent in mode `direct`. */
  readonly memoryMax?: number
}

export class DirectHomes {
  readonly mode: MountDaxMode
  readonly #native: Pick<Native, 'isDax' | 'clonesKeepDax' | 'windows'>
  readonly #arena: MountArena | undefined
  readonly #memory: DirectMemory | undefined
  /** By number, those that are held by somebody or were; undefined: not on DAX. */
  readonly #homes = new Map<number, DirectHome | undefined>()

  /** `arena`: where pages are promoted to, with `auto`. */
  constructor(mode: MountDaxMode, native: Native, arena: MountArena | undefined) {
    this.mode = mode
    this.#native = native
    this.#arena = arena
    if (mode === 'auto' && arena !== undefined) this.#memory = new DirectMemory(mode, native, arena.pages, arena.arena)
  }

  /** Whether what `fd` is open on is to be read where it lies, if that can be. */
  isWanted(fd: number): boolean {
    return this.#native.isDax(fd)
  }

  /** As {@link homesForDax}. */
  get homesFor(): 'all' | 'shared' {
    return homesForDax(this.mode, this.#native)
  }

  /** How home `number`, which the caller holds and `fd` is open on, is read; undefined: with system calls. */
  of(number: number, fd: number, bytes: number): DirectHome | undefined {
    if (!this.#homes.has(number)) this.#homes.set(number, this.isWanted(fd) ? this.#open(fd, bytes) : undefined)
    return this.#homes.get(number)
  }

  #open(fd: number, bytes: number): DirectHome | undefined {
    const pages = this.#arena?.pages
    const mapping = this.#memory === undefined ? -1 : pages!.mappings.create()
    if (mapping < 0) {
      const place = this.#native.windows.open(fd, bytes)
      return place && { window: { ...place, bytes, isSampled: false } }
    }
    const version = pages!.mappings.changeLayout(mapping)
    const window = this.#memory!.addHome(mapping, fd, bytes)
    if (window !== undefined) return { window, copies: { mapping, version } }
    pages!.deleteMapping(mapping)
    return undefined
  }

  /** Nobody holds home `number`, nor will: its descriptor is about to be closed. */
  retired(number: number): void {
    const home = this.#homes.get(number)
    this.#homes.delete(number)
    if (home?.copies === undefined) {
      if (home !== undefined) this.#native.windows.close(home.window)
      return
    }
    this.#arena!.pages.deleteMapping(home.copies.mapping)
    this.#memory!.remove(home.copies.mapping)
  }

  /** A worker on `node` has sampled its reads of homes where they lie: pairs of mapping and page. The homes may be gone by now. */
  sampled(node: number, samples: Int32Array): void {
    if (this.#memory === undefined) return
    try {
      for (let i = 0; i < samples.length; i += 2) this.#memory.mint(samples[i]!, samples[i + 1]!, 1)
    } catch (error) {
      // Where the file system does not say any more where its pages are, they are read there all the same.
      if (!(error instanceof SystemError)) throw error
    }
    this.#memory.sampled(node, samples)
  }

  statistics(): DirectStatistics {
    const homes = [...this.#homes.values()].filter((home) => home !== undefined)
    const pages = homes.reduce(
      (sum, { window, copies }) => sum + Math.ceil(window.bytes / PAGE_BYTES) * this.#readers(copies?.mapping),
      0,
    )
    const { promotedBytes, promotions, demotions } = this.#memory?.stats() ?? NOTHING_PROMOTED
    return {
      mode: this.mode,
      homes: homes.length,
      directPages: pages - promotedBytes / PAGE_BYTES,
      promotedBytes,
      promotions,
      demotions,
      ...(this.#memory && { memoryMax: this.#arena!.memoryMax }),
    }
  }

  /** Where each node has pages of its own, a page is read where it lies by each. */
  #readers(mapping: number | undefined): number {
    return mapping === undefined ? 1 : this.#arena!.pages.mappings.ofFile(mapping).length
  }
}

const NOTHING_PROMOTED = { promotedBytes: 0, promotions: 0, demotions: 0 }
