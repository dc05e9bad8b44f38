/**
 * The keeper of files: opens them, decides how they are served, loads and writes. One thread, the one that made the cache.
 *
 * ```
 *   open    stat → known and as it was? its pages are still good : all is dropped → which homes?
 *   load    file pages → pieces (own, or a home's) → loader
 *   write   see file-writer.ts
 *   merge   load → equal pages become one
 * ```
 * What others do to a file is noticed when it is opened the next time, whoever opens it: then all who have it open see it.
 */
import fs from 'node:fs'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { PAGE_BYTES } from '../cache/entry.ts'
import { Exclusion } from '../cache/grants/exclusion.ts'
import type { GrantAuthority } from '../cache/grants/grant-authority.ts'
import type { CacheMemory } from '../cache/memory.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import type { Arena } from './arena.ts'
import type { MountFiles } from './attached/mount-files.ts'
import { CachedInode } from './cached-inode.ts'
import { CachedInodes } from './cached-inodes.ts'
import type { DirectMemory } from './direct-memory.ts'
import { notSupported, systemError, withPath } from './errors.ts'
import { piecesOf } from './file-pieces.ts'
import { FileWriter } from './file-writer.ts'
import { FileGrants, readInside } from './grants/file-grants.ts'
import type { Grants } from './grants/grants.ts'
import { type LoadPassage, Passages } from './grants/passages.ts'
import type { HomeSources } from './home-sources.ts'
import { KeptPages } from './kept-pages.ts'
import { Loader } from './loader.ts'
import { type MergeOptions, type MergeStats, Merging } from './merging.ts'
import type { Native } from './native.ts'
import { openRegular, openRegularSync } from './open-regular.ts'

const { O_RDONLY, O_RDWR, O_NONBLOCK } = fs.constants
const openFile = promisify(fs.open)

/** After so long without an open file an inode lets its homes go: they pin what their files have overwritten. */
const HOMES_IDLE_MS = 5 * 60_000

/** A write that finds no space waits so long for loads from homes. Some may never end: storage can be gone. */
const HOMES_WAIT_MS = 1000

interface FileKeeperOptions {
  /** Whether to read past the kernel's own cache where that can be done. */
  readonly direct: boolean
  /** Undefined: nothing is read where it lies. */
  readonly dax?: DirectMemory | undefined
  /** Decides on grants; in an attached cache on what it has given up. */
  readonly authority: GrantAuthority
  /** Which the cache is attached to: all files are of it. */
  readonly mount?: MountFiles | undefined
  /** How long reads and writes wait for them. */
  readonly waitMs: number
}

export class FileKeeper {
  readonly pages: PageKeeper
  readonly loader: Loader
  readonly grants: Grants
  readonly passages: Passages
  readonly writer: FileWriter
  readonly #exclusion: Exclusion
  readonly #arena: Arena
  readonly #homes: HomeSources | undefined
  readonly #mount: MountFiles | undefined
  readonly #inodes: CachedInodes
  readonly #sweeping: NodeJS.Timeout
  /** Loads under way of files that are served by homes, which stay meanwhile. */
  readonly #loadsFromHomes = new Set<Promise<void>>()
  #merging: Promise<Merging> | undefined

  constructor(
    memory: CacheMemory,
    pages: PageKeeper,
    arena: Arena,
    native: Native | undefined,
    homes: HomeSources | undefined,
    options: FileKeeperOptions,
  ) {
    this.pages = pages
    this.loader = new Loader(pages, arena)
    this.#arena = arena
    this.#homes = homes
    const { direct, dax, mount, authority, waitMs } = options
    this.#mount = mount
    const closeFd = (fd: number) => this.#closeFd(fd)
    this.#inodes = new CachedInodes(pages, { native, homes, dax, direct, closeFd }, (it) => this.writer.lookAtSize(it))
    this.#exclusion = new Exclusion(memory, pages)
    this.passages = new Passages(mount?.leases ?? authority, waitMs, mount !== undefined)
    this.grants =
      mount?.grants ??
      new FileGrants({
        authority,
        exclusion: this.#exclusion,
        pages,
        arena,
        close: (inode) => this.close(inode, true),
        makeSpace: () => this.#makeSpace(),
        cacheWritten: (inode, bytes, position) => {
          this.loader.cacheWritten(inode, bytes, position, 0)
          // The holder's copy, what is published and what was there before: memory that is the cache's doing, and goes when garbage is collected.
          this.loader.onCached(3 * bytes.length, true)
        },
      })
    this.writer = new FileWriter({
      pages,
      loader: this.loader,
      passages: this.passages,
      close: (inode) => this.close(inode, true),
      makeSpace: () => this.#makeSpace(),
    })
    this.#sweeping = setInterval(() => this.letHomesGo(Date.now() - HOMES_IDLE_MS), HOMES_IDLE_MS / 5).unref()
  }

  /**
   * Opens a regular file; to be given back with {@link close}, and the same `writable`. Rejects with the system's error, and with EBUSY where it is open in another domain: a file is of one at a
   * time.
   */
  async open(path: string, writable: boolean, domain: number): Promise<CachedInode> {
    const attended = await this.#mount?.open(path)
    const fd = attended?.fd ?? (await openRegular(path, O_RDONLY))
    const inode = this.#inodes.take(path, fd, domain, attended?.end)
    try {
      await inode.deciding
      if (writable) this.#writeBy(inode, path, await this.#openToWrite(path))
      return inode
    } catch (error) {
      this.close(inode)
      throw error
    }
  }

  /** The same at once: how it is served is decided meanwhile, and until then by itself alone. */
  openSync(path: string, writable: boolean, domain: number): CachedInode {
    // The mount has to be asked, and to answer.
    if (this.#mount !== undefined) throw notSupported('openSync', 'where the cache is attached to a mount')
    const inode = this.#inodes.take(path, openRegularSync(path, O_RDONLY), domain)
    try {
      if (writable) this.#writeBy(inode, path, openRegularSync(path, O_RDWR))
      return inode
    } catch (error) {
      this.close(inode)
      throw error
    }
  }

  /** `writes`: it was used by who may write. */
  close(inode: CachedInode, writes = false): void {
    this.#inodes.close(inode, writes)
  }

  /** See {@link CachedInodes.letHomesGo}. */
  letHomesGo(sinceMs: number): void {
    this.#inodes.letHomesGo(sinceMs)
  }

  /** Begins to merge pages with equal bytes, unless that goes on already. */
  beginMerging(options: MergeOptions): Promise<Merging> {
    this.#merging ??= Merging.begin(this.pages, this.#arena, options).then((merging) => (this.loader.merging = merging))
    return this.#merging
  }

  /** Loads pages of the file and merges them at once; also where nothing is merged otherwise. What merging has done by then. */
  async merge(inode: CachedInode, page: number, count: number, near: number): Promise<MergeStats> {
    inode.use(false)
    try {
      const merging = await this.beginMerging({ onLoad: false, scan: false })
      await this.load(inode, page, count, count, near, true)
      for (const piece of piecesOf(inode, this.#homes, page, count))
        merging.mergeNow(this.pages.mappings.on(piece.source.mapping, near), piece.page, piece.count)
      return merging.stats()
    } finally {
      this.close(inode)
    }
  }

  /**
   * Loads what is missing of `count` pages of the file from `page` on, of which the first `wanted` are asked for; see {@link Loader}. Waits for those that are granted to somebody, or with
   * `wait: false` rejects with EAGAIN. When `signal` aborts it waits no more; what it loads by then it loads. Resolves with the bytes of those that are wanted where it had to wait: the next one may have them before they could be looked up.
   */
  async load(
    inode: CachedInode,
    page: number,
    count: number,
    wanted: number,
    near: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return await this.passages.again(wait, () => this.#load(inode, page, count, wanted, near, wait, signal))
  }

  async #load(
    inode: CachedInode,
    page: number,
    count: number,
    wanted: number,
    near: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    inode.use(false)
    let homes: readonly number[] = []
    let passage: LoadPassage | undefined
    try {
      passage = await this.passages.load(inode, page, count, wanted, wait, signal)
      homes = inode.homes
      this.#homes?.hold(homes)
      const loading = this.#loadPieces(inode, page, passage.count, wanted, near)
      if (homes.length > 0) this.#loadsFromHomes.add(loading)
      try {
        await loading
      } finally {
        this.#loadsFromHomes.delete(loading)
      }
      return passage.hasWaited ? await readInside(inode, page, wanted) : undefined
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      this.#homes?.release(homes)
      passage?.leave()
      this.close(inode)
    }
  }

  async #loadPieces(inode: CachedInode, page: number, count: number, wanted: number, near: number): Promise<void> {
    const kept = wanted === 0 ? new KeptPages() : undefined
    for (const piece of piecesOf(inode, this.#homes, page, count))
      await this.loader.load(
        piece.source,
        piece.page,
        piece.count,
        Math.max(0, Math.min(piece.count, wanted - piece.done)),
        near,
        kept,
      )
  }

  /** The same, blocking; does not wait for grants. */
  loadSync(inode: CachedInode, page: number, count: number, wanted: number, near: number): void {
    const passage = this.passages.loadSync(inode, page, count, wanted)
    try {
      for (const piece of piecesOf(inode, this.#homes, page, passage.count))
        this.loader.loadSync(
          piece.source,
          piece.page,
          piece.count,
          Math.max(0, Math.min(piece.count, wanted - piece.done)),
          near,
        )
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      passage.leave()
    }
  }

  /** How the file of that key is served is to be decided anew when it is opened next. */
  reconsider(key: string): void {
    this.#inodes.reconsider(key)
  }

  /** Forgets what is cached of the pages [page, page + count) of the file alone: a home's pages are others', too. */
  forgetPages(inode: CachedInode, page: number, count: number): void {
    this.pages.drop(inode.mapping, page, page + count)
  }

  /** Gives everything back but mappings: other threads may be asking them for sizes. Nobody may have a file open. */
  async dispose(): Promise<void> {
    clearInterval(this.#sweeping)
    this.loader.merging?.stop()
    await this.loader.end()
    await this.#homes?.close()
  }

  /** The thread ends without {@link dispose}: at once, what would outlive it. */
  abandon(): void {
    this.#inodes.abandon()
    this.#homes?.abandon()
  }

  #closeFd(fd: number): void {
    if (this.#mount === undefined) fs.closeSync(fd)
    else this.#mount.closeFd(fd)
  }

  /** Nothing of pages [from, to) of the file of that key is cached until the returned function is called; who reads past the cache on another thread at either end of that time reads again. */
  keepOut(key: string, from: number, to: number): () => void {
    const inode = this.#inodes.get(key)
    if (inode === undefined) return () => {}
    const drop = () => this.#exclusion.drop(inode.mapping, from, Math.min(to, PAGES_MAX))
    const end = inode.beginWriting(from * PAGE_BYTES, to * PAGE_BYTES)
    drop()
    return () => {
      end()
      drop()
    }
  }

  /** Of a mount's file what is granted to somebody is refused. */
  async #openToWrite(path: string): Promise<number> {
    return this.#mount === undefined ? await openRegular(path, O_RDWR) : await openFile(path, O_RDWR | O_NONBLOCK)
  }

  /** One writer more, by `fd`. It was opened by `path` also where the inode can be written already: this caller, by this path, may not be allowed to. */
  #writeBy(inode: CachedInode, path: string, fd: number): void {
    try {
      // What is stored there lies in the processor's caches until somebody flushes them, and no system call does.
      if (inode.window !== undefined) throw systemError('EROFS', 'device DAX is read only', 'open', path)
      const { key } = CachedInode.stampOf(fs.fstatSync(fd, { bigint: true }))
      if (key !== inode.key) throw systemError('ESTALE', 'another file has taken the name', 'open', path)
    } catch (error) {
      this.#closeFd(fd)
      throw error
    }
    inode.writers++
    if (inode.writeFd < 0) inode.writeFd = fd
    else this.#closeFd(fd)
  }

  /** Where there is no space: homes that nobody uses are dropped. Readahead uses those of files that have been closed meanwhile, until it ends. */
  async #makeSpace(): Promise<void> {
    if (this.#loadsFromHomes.size > 0) {
      await Promise.race([
        Promise.allSettled(this.#loadsFromHomes),
        // What is being read keeps the process alive, nothing else needs to.
        delay(HOMES_WAIT_MS, undefined, { ref: false }),
      ])
      // They give their homes back when they have ended.
      await nextTurn()
    }
    this.letHomesGo(Date.now())
    await this.#homes?.homes.dropUnused()
  }
}
