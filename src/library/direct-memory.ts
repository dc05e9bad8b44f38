/**
 * Pages that are read in the memory of their device, as the keeper's thread has them: windows, entries, and which pages are copied to main memory. Nothing of it is made before the
 * first file or device with DAX is opened.
 *
 * **What is mapped** is what nobody can cut short, for what is cut off ends the process of who touches it: homes, which are nobody else's, and device DAX. A file itself is not. So a file with
 * DAX gets a home of its own where nobody shares it; where it cannot have one it is read with system calls.
 */
import type { DirectPages } from '../cache/direct-pages.ts'
import { DirectPolicy } from '../cache/direct-policy.ts'
import { PAGE_BYTES } from '../cache/entry.ts'
import { SAMPLE_HITS } from '../cache/hit-samples.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { ExtentFlag, isAddressable } from '../storage/extents.ts'
import type { Arena } from './arena.ts'
import type { DaxDevice, Native } from './native.ts'
import { type WindowHandle, Windows } from './windows.ts'

/**
 * How files on DAX storage are read. `auto`: where they lie, and what is read often from a copy in main memory. `direct`: always where they lie, and nothing of them is cached.
 * `cache`: as any other file, from copies.
 */
export type DaxMode = 'auto' | 'direct' | 'cache'

/** Of {@link PageCacheStats}. Counts are since the cache was made. */
export interface DaxStats {
  /** Pages that are read where they lie, as far as readers have come. */
  readonly directPages: number
  /** Reads of such pages, estimated from samples; in mode `auto`. */
  readonly directHits: number
  /** Bytes of pages that have been copied to main memory for being read often, now. */
  readonly promotedBytes: number
  /** Pages that were copied to main memory. */
  readonly promotions: number
  /** Promoted pages that had to go; they are read where they lie again. */
  readonly demotions: number
}

/** Pages that get their entries together: those of 2 MiB. */
const CHUNK_PAGES = 512

/** Of a mapping that is read through a window. */
interface Source {
  readonly fd: number
  readonly window: WindowHandle
  readonly alignBytes: number | undefined
  readonly isDevice: boolean
}

/** Which files on DAX get a home that would get none otherwise. In mode `auto` none that would lose DAX by it. */
export function homesForDax(mode: DaxMode, native: Pick<Native, 'clonesKeepDax'>): 'all' | 'shared' {
  return mode === 'direct' || native.clonesKeepDax() ? 'all' : 'shared'
}

/** Context: the keeper's thread. */
export class DirectMemory {
  readonly mode: DaxMode
  readonly #native: Native
  readonly #pages: PageKeeper
  readonly #arena: Arena
  readonly #sources = new Map<number, Source>()
  readonly #windows: Windows
  #policy: DirectPolicy | undefined
  #hits = 0

  constructor(mode: DaxMode, native: Native, pages: PageKeeper, arena: Arena) {
    this.mode = mode
    this.#native = native
    this.#pages = pages
    this.#arena = arena
    this.#windows = new Windows(native.windows.view)
  }

  /** Whether what `fd` is open on is to be read where it lies, if that can be. What lies in main memory is cached in mode `auto` all the same: a hit takes no system call. */
  isWanted(fd: number): boolean {
    if (this.mode === 'cache') return false
    return this.#native.isDax(fd) || (this.mode === 'direct' && this.#native.livesInMemory(fd))
  }

  /** As {@link homesForDax}. */
  get homesFor(): 'all' | 'shared' {
    return homesForDax(this.mode, this.#native)
  }

  /** The device DAX that `fd` is open on; undefined where it is none. */
  deviceOf(fd: number): DaxDevice | undefined {
    return this.#native.daxDevice(fd)
  }

  /** Pages of `mapping` are those of the home that `fd` is open on; undefined where that cannot be mapped. */
  addHome(mapping: number, fd: number, bytes: number): WindowHandle | undefined {
    return this.isWanted(fd) ? this.#add(mapping, fd, bytes, undefined) : undefined
  }

  /** The same of a device. */
  addDevice(mapping: number, fd: number, { bytes, alignBytes }: DaxDevice): WindowHandle | undefined {
    return this.#add(mapping, fd, bytes, alignBytes)
  }

  #add(mapping: number, fd: number, bytes: number, alignBytes: number | undefined): WindowHandle | undefined {
    const place = this.#native.windows.open(fd, bytes, alignBytes)
    if (place === undefined) return undefined
    const isDevice = alignBytes !== undefined
    // A device may be changed by anybody, and nobody tells: a copy would be of what was there once.
    const window = { ...place, bytes, isSampled: this.mode === 'auto' && !isDevice }
    this.#sources.set(mapping, { fd, window, alignBytes, isDevice })
    this.#direct()
    return window
  }

  /** No layout names the mapping's window any more. */
  remove(mapping: number): void {
    const source = this.#sources.get(mapping)
    if (source === undefined) return
    this.#sources.delete(mapping)
    this.#native.windows.close(source.window, source.alignBytes)
  }

  /** See {@link FileKeeper.abandon}: what a window shows would be held until the process ends. */
  abandon(): void {
    for (const mapping of [...this.#sources.keys()]) this.remove(mapping)
  }

  /** Makes entries for pages [page, page + count) of the mapping, and for their neighbours. Where that cannot be they stay as they are. Throws what the file system says. */
  mint(mapping: number, page: number, count: number): void {
    const source = this.#sources.get(this.#pages.mappings.firstOf(mapping))
    if (source === undefined) return
    const end = Math.ceil(source.window.bytes / PAGE_BYTES)
    for (let at = page; at < Math.min(page + count, end); ) {
      const chunk = Math.floor(at / CHUNK_PAGES)
      if (!this.#pages.isCached(mapping, at))
        this.#mintChunk(mapping, source, chunk * CHUNK_PAGES, Math.min((chunk + 1) * CHUNK_PAGES, end))
      at = (chunk + 1) * CHUNK_PAGES
    }
  }

  #mintChunk(mapping: number, source: Source, from: number, to: number): void {
    const direct = this.#direct()
    if (source.isDevice) {
      for (let page = from; page < to; page++) direct.publish(mapping, page, page)
      return
    }
    const extents = this.#native.readExtents(source.fd, from * PAGE_BYTES, (to - from) * PAGE_BYTES)
    let page = from
    for (let i = 0; i < extents.count; i++) {
      const first = extents.logical[i]! / PAGE_BYTES
      const flags = extents.flags[i]!
      for (; page < first; page++) direct.publishHole(mapping, page)
      page = Math.ceil(extents.end(i) / PAGE_BYTES)
      if (!isAddressable(flags)) continue
      for (let at = first; at < page; at++)
        if ((flags & ExtentFlag.UNWRITTEN) !== 0) direct.publishHole(mapping, at)
        else direct.publish(mapping, at, extents.physical[i]! / PAGE_BYTES + (at - first))
    }
    for (; page < to; page++) direct.publishHole(mapping, page)
  }

  /** A reader on `node` has sampled its reads of direct pages: pairs of mapping and page. */
  sampled(node: number, samples: Int32Array): void {
    this.#hits += (samples.length / 2) * SAMPLE_HITS
    this.#policy?.take(node, samples)
  }

  /** Undefined where there was nothing with DAX yet. */
  stats(): DaxStats | undefined {
    const counts = this.#pages.direct?.counts
    return (
      counts && {
        directPages: counts.entries,
        directHits: this.#hits,
        promotedBytes: counts.promoted * PAGE_BYTES,
        promotions: counts.promotions,
        demotions: counts.demotions,
      }
    )
  }

  #copy(mapping: number, page: number, frame: number): void {
    const { window } = this.#sources.get(this.#pages.mappings.firstOf(mapping))!
    const target = this.#arena.bytes(frame)
    const count = Math.min(PAGE_BYTES, window.bytes - page * PAGE_BYTES)
    this.#windows.copy(window, page * PAGE_BYTES, target, 0, count)
    target.fill(0, count)
  }

  #direct(): DirectPages {
    if (this.#pages.direct !== undefined) return this.#pages.direct
    const direct = this.#pages.allowDirect((mapping, page, frame) => this.#copy(mapping, page, frame))
    if (this.mode === 'auto') this.#policy = new DirectPolicy(this.#pages)
    return direct
  }
}
