/**
 * What the keeper knows of one inode that is open through the cache, or was not long ago: its descriptors, its mapping, and how it is served.
 */
import type fs from 'node:fs'
import { PAGE_BYTES } from '../cache/entry.ts'
import { OwnPages } from '../cache/own-pages.ts'
import type { RunMap } from '../cache/run-map.ts'
import type { CombinedWrites } from './combined-writes.ts'
import { FileSyncs } from './file-syncs.ts'
import type { LayoutHandle } from './layout.ts'
import type { PageSource } from './page-source.ts'
import type { WindowHandle } from './windows.ts'

/** The state of a file, as fstat(2) tells: equal stamps, equal bytes, as long as its file system stays mounted. */
export interface FileStamp {
  readonly ctimeNs: bigint
  readonly size: number
}

export interface FileIdentity {
  readonly key: string
  readonly dev: bigint
  readonly ino: bigint
}

/** Bytes [start, end) of the file. */
interface Bytes {
  readonly start: number
  readonly end: number
}

export class CachedInode implements PageSource {
  readonly key: string
  /** By which it was opened when nobody had it open yet. Who opens it meanwhile may know it by another one, see {@link asOpened}. */
  path: string
  readonly mapping: number
  /** It shares nothing with files of other domains. */
  readonly domain: number
  fd = -1
  directFd = -1
  refusesDirect = false
  /** Open for writing; -1 until somebody wants to. */
  writeFd = -1
  /** What is on its way to {@link writeFd}; undefined before the first change. */
  writes: CombinedWrites | undefined
  readonly syncs = new FileSyncs()
  size = 0
  stamp: FileStamp = NO_STAMP
  /** Through which it was opened when nobody had it open yet, by {@link Native.uniqueMountId}. */
  mount = 0
  /** Open files, and operations under way: the descriptors stay as long as there are any. */
  uses = 0
  /** Of them, those that may write: {@link writeFd} stays open as long as there are any. */
  writers = 0
  /** In an attached cache: tells the mount that nobody has it open here any more. */
  unattend: (() => void) | undefined
  /** When the last user left. */
  closedAtMs = 0
  /** Homes that the layout names. */
  homes: readonly number[] = []
  /** When to decide anew, although the file has not changed: it may have clones by then. */
  recheckAtMs = Number.POSITIVE_INFINITY
  /** Settles when it is decided how the file is served. */
  deciding: Promise<void> | undefined
  /** Bytes that are somebody's, or are just being published: homes have nothing to say about them. */
  readonly exclusives = new Set<Bytes>()
  /** Read where it lies, if that can be: it is on DAX storage, and the user wants that. */
  isDax = false
  /** Its own pages are not cached. */
  isPast = false
  /** Of a device: on its bytes. */
  window: WindowHandle | undefined
  mint?: PageSource['mint']
  /** Settles when what is being published is. */
  publishing: Promise<void> | undefined
  #map: RunMap | undefined
  #own: OwnPages | undefined
  #handle: LayoutHandle
  readonly #writings = new Set<Bytes>()
  readonly #onShrunk: (inode: CachedInode) => void

  constructor(key: string, path: string, mapping: number, domain: number, onShrunk: (inode: CachedInode) => void) {
    this.key = key
    this.path = path
    this.mapping = mapping
    this.domain = domain
    this.#onShrunk = onShrunk
    this.#handle = { mapping, version: 0 }
  }

  get map(): RunMap | undefined {
    return this.#map
  }

  get own(): OwnPages | undefined {
    return this.#own
  }

  get layout(): LayoutHandle {
    return this.#handle
  }

  /** Served by itself alone from now on. `version`: of the mapping's layout, as {@link PageKeeper.changeLayout} gives it. */
  serveAlone(version: number): void {
    this.#map = undefined
    this.#own = undefined
    this.#handle = this.#handleOf(version)
  }

  /** Served by homes as `map` says; `homes`: their mappings, by number, and `windows` on those that have one. */
  serveByHomes(map: RunMap, homes: Int32Array, windows: readonly (WindowHandle | undefined)[], version: number): void {
    const own = OwnPages.allocate(map.endOfRuns)
    this.#map = map
    this.#own = new OwnPages(own)
    for (const { start, end } of this.exclusives) this.#own.add(start, end)
    this.#handle = { ...this.#handleOf(version), shared: { map: map.buffer, own, homes, windows } }
  }

  #handleOf(version: number): LayoutHandle {
    const { mapping, window, isPast } = this
    return { mapping, version, ...(window && { window }), ...(isPast && { isPast }) }
  }

  /** One user more, until {@link CachedInodes.close} is called with the same `writes`. */
  use(writes: boolean): void {
    this.uses++
    if (writes) this.writers++
  }

  isAtRest(page: number, count: number): boolean {
    if (this.isPast) return false
    const start = page * PAGE_BYTES
    const end = start + count * PAGE_BYTES
    for (const writing of this.#writings) if (writing.start < end && start < writing.end) return false
    return true
  }

  /** Pages that bytes [start, end) touch are not loaded until the returned function is called. */
  beginWriting(start: number, end: number): () => void {
    const writing = { start, end }
    this.#writings.add(writing)
    return () => this.#writings.delete(writing)
  }

  onShrunk(): void {
    this.#onShrunk(this)
  }

  static stampOf({ dev, ino, ctimeNs, size }: fs.BigIntStats): FileStamp & FileIdentity {
    return { key: `${dev}:${ino}`, dev, ino, ctimeNs, size: Number(size) }
  }
}

/** No file's: whoever compares with it looks anew. */
export const NO_STAMP: FileStamp = { ctimeNs: -1n, size: -1 }

export function isSameFileStamp(a: FileStamp, b: FileStamp): boolean {
  return a.ctimeNs === b.ctimeNs && a.size === b.size
}
