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
import { promisify } from 'node:util'
import { PAGE_BYTES } from '../cache/entry.ts'
import { Exclusion } from '../cache/grants/exclusion.ts'
import type { GrantAuthority } from '../cache/grants/grant-authority.ts'
import type { CacheMemory } from '../cache/memory.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import type { Arena } from './arena.ts'
import { isFileAtRest } from './at-rest.ts'
import type { MountFiles } from './attached/mount-files.ts'
import { CachedInode, isSameFileStamp, NO_STAMP } from './cached-inode.ts'
import { notAFile, notSupported, systemError, withPath } from './errors.ts'
import { FileLayouts } from './file-layouts.ts'
import { cacheWritten, piecesOf } from './file-pieces.ts'
import { FileWriter } from './file-writer.ts'
import { FileGrants, readInside } from './grants/file-grants.ts'
import type { Grants } from './grants/grants.ts'
import { type LoadPassage, Passages } from './grants/passages.ts'
import type { HomeSources } from './home-sources.ts'
import { Loader } from './loader.ts'
import { type MergeOptions, type MergeStats, Merging } from './merging.ts'
import type { Native } from './native.ts'

const openFile = promisify(fs.open)

/** Inodes remembered that nobody has open. */
const IDLE_MAX = 1024
/** After so long without an open file an inode lets its homes go: they pin what their files have overwritten. */
const HOMES_IDLE_MS = 5 * 60_000

export interface FileKeeperOptions {
  /** Whether to read past the kernel's own cache where that can be done. */
  readonly direct: boolean
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
  readonly #native: Native | undefined
  readonly #homes: HomeSources | undefined
  readonly #layouts: FileLayouts
  readonly #options: FileKeeperOptions
  /** By key; those that nobody has open last used last. */
  readonly #inodes = new Map<string, CachedInode>()
  readonly #sweeping: NodeJS.Timeout
  #merging: Promise<Merging> | undefined
  #idle = 0

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
    this.#native = native
    this.#homes = homes
    this.#layouts = new FileLayouts(pages, homes, (inode) => this.#inodes.get(inode.key) === inode)
    this.#options = options
    const { mount, authority, waitMs } = options
    this.#exclusion = new Exclusion(memory, pages)
    this.passages = new Passages(mount?.leases ?? authority, waitMs)
    this.grants =
      mount?.grants ??
      new FileGrants({
        authority,
        exclusion: this.#exclusion,
        pages,
        arena,
        close: (inode) => this.close(inode),
        makeSpace: () => this.#makeSpace(),
        cacheWritten: (inode, bytes, position) => cacheWritten(pages, arena, inode, bytes, position, 0),
      })
    this.writer = new FileWriter({
      pages,
      arena,
      loader: this.loader,
      passages: this.passages,
      close: (inode) => this.close(inode),
      makeSpace: homes && (() => this.#makeSpace()),
      isRefusing: mount !== undefined,
    })
    this.#sweeping = setInterval(() => this.letHomesGo(Date.now() - HOMES_IDLE_MS), HOMES_IDLE_MS / 5).unref()
  }

  /**
   * Opens a regular file; to be given back with {@link close}. Rejects with the system's error, and with EBUSY where it is open in another domain: a file is of one at a
   * time.
   */
  async open(path: string, writable: boolean, domain: number): Promise<CachedInode> {
    const { mount } = this.#options
    const attended = await mount?.open(path)
    const fd = attended?.fd ?? (await openFile(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK))
    const inode = this.#take(path, fd, domain, attended?.end)
    try {
      await inode.deciding
      if (writable) this.#openForWriting(inode, path)
      return inode
    } catch (error) {
      this.close(inode)
      throw error
    }
  }

  /** The same at once: how it is served is decided meanwhile, and until then by itself alone. */
  openSync(path: string, writable: boolean, domain: number): CachedInode {
    // The mount has to be asked, and to answer.
    if (this.#options.mount !== undefined) throw notSupported('openSync', 'where the cache is attached to a mount')
    const inode = this.#take(path, fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), domain)
    try {
      if (writable) this.#openForWriting(inode, path)
      return inode
    } catch (error) {
      this.close(inode)
      throw error
    }
  }

  close(inode: CachedInode): void {
    if (--inode.uses > 0) return
    for (const fd of [inode.fd, inode.directFd, inode.writeFd]) if (fd >= 0) this.#closeFd(fd)
    inode.unattend?.()
    inode.unattend = undefined
    inode.fd = inode.directFd = inode.writeFd = -1
    // Last in the order of use.
    this.#inodes.delete(inode.key)
    this.#inodes.set(inode.key, inode)
    this.#idle++
    inode.closedAtMs = Date.now()
    if (this.#idle > IDLE_MAX) this.#forgetOldest()
  }

  /** Inodes that nobody has had open since `sinceMs` let their homes go; how they are served is decided anew when they are opened next. */
  letHomesGo(sinceMs: number): void {
    for (const inode of this.#inodes.values()) {
      if (inode.uses > 0 || inode.homes.length === 0 || inode.closedAtMs > sinceMs) continue
      this.#layouts.serveAlone(inode)
      inode.recheckAtMs = 0
    }
  }

  /** Begins to merge pages with equal bytes, unless that goes on already. */
  beginMerging(options: MergeOptions): Promise<Merging> {
    this.#merging ??= Merging.begin(this.pages, this.#arena, options).then((merging) => (this.loader.merging = merging))
    return this.#merging
  }

  /** Loads pages of the file and merges them at once; also where nothing is merged otherwise. What merging has done by then. */
  async merge(inode: CachedInode, page: number, count: number, near: number): Promise<MergeStats> {
    const merging = await this.beginMerging({ onLoad: false, scan: false })
    await this.load(inode, page, count, count, near, true)
    for (const piece of piecesOf(inode, this.#homes, page, count))
      merging.mergeNow(this.pages.mappings.on(piece.source.mapping, near), piece.page, piece.count)
    return merging.stats()
  }

  /**
   * Loads what is missing of `count` pages of the file from `page` on, of which the first `wanted` are asked for; see {@link Loader}. Waits for those that are granted to somebody, or with
   * `wait: false` rejects with EAGAIN. Resolves with the bytes of those that are wanted where it had to wait: the next one may have them before they could be looked up.
   */
  async load(
    inode: CachedInode,
    page: number,
    count: number,
    wanted: number,
    near: number,
    wait: boolean,
  ): Promise<Uint8Array | undefined> {
    return await this.writer.again(wait, () => this.#load(inode, page, count, wanted, near, wait))
  }

  async #load(
    inode: CachedInode,
    page: number,
    count: number,
    wanted: number,
    near: number,
    wait: boolean,
  ): Promise<Uint8Array | undefined> {
    inode.uses++
    let homes: readonly number[] = []
    let passage: LoadPassage | undefined
    try {
      passage = await this.passages.load(inode, page, count, wanted, wait)
      homes = inode.homes
      this.#homes?.hold(homes)
      for (const piece of piecesOf(inode, this.#homes, page, passage.count))
        await this.loader.load(
          piece.source,
          piece.page,
          piece.count,
          Math.max(0, Math.min(piece.count, wanted - piece.done)),
          near,
        )
      return passage.hasWaited ? await readInside(inode, page, wanted) : undefined
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      this.#homes?.release(homes)
      passage?.leave()
      this.close(inode)
    }
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
    const inode = this.#inodes.get(key)
    if (inode !== undefined) inode.recheckAtMs = 0
  }

  /** Forgets what is cached of the pages [page, page + count) of the file alone: a home's pages are others', too. */
  forgetPages(inode: CachedInode, page: number, count: number): void {
    this.pages.drop(inode.mapping, page, page + count)
  }

  /** Gives everything back but mappings: other threads may be asking them for sizes. Nobody may have a file open. */
  async dispose(): Promise<void> {
    clearInterval(this.#sweeping)
    this.loader.merging?.stop()
    await this.loader.settled()
    await this.#homes?.close()
  }

  /** The inode that `fd` is open on, with one user more; `fd` becomes its own, or is closed. */
  #take(path: string, fd: number, domain: number, unattend?: () => void): CachedInode {
    let keep = false
    let isTaken = false
    try {
      const stat = fs.fstatSync(fd, { bigint: true })
      if (!stat.isFile()) throw notAFile(path, stat.isDirectory())
      const stamp = CachedInode.stampOf(stat)
      const inode = this.#known(stamp.key, path, domain) ?? this.#create(stamp.key, path, domain)
      isTaken = true
      if (inode.unattend === undefined) inode.unattend = unattend
      else unattend?.()
      if (inode.uses++ === 0) {
        this.#idle--
        inode.fd = fd
        inode.directFd = this.#options.direct && this.#native !== undefined ? this.#native.reopenDirect(fd) : -1
        keep = true
      }
      if (!isSameFileStamp(inode.stamp, stamp)) this.#renew(inode, stamp.size)
      else if (Date.now() < inode.recheckAtMs) return inode
      inode.stamp = stamp
      inode.deciding = this.#layouts.decide(inode, path, stamp).finally(() => {
        inode.deciding = undefined
      })
      // What is being changed now may have got its ctime already, and its bytes will come later.
      if (!isFileAtRest(this.#native, fd, stamp)) inode.stamp = NO_STAMP
      return inode
    } finally {
      if (!keep) this.#closeFd(fd)
      if (!isTaken) unattend?.()
    }
  }

  #closeFd(fd: number): void {
    const { mount } = this.#options
    if (mount === undefined) fs.closeSync(fd)
    else mount.closeFd(fd)
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

  /** The inode of that key as it is known in `domain`. */
  #known(key: string, path: string, domain: number): CachedInode | undefined {
    const inode = this.#inodes.get(key)
    if (inode === undefined || inode.domain === domain) return inode
    if (inode.uses > 0) throw systemError('EBUSY', `open in domain ${inode.domain}`, 'open', path)
    this.#forget(inode)
    return undefined
  }

  #create(key: string, path: string, domain: number): CachedInode {
    let mapping = this.pages.mappings.create(domain)
    while (mapping < 0 && this.#forgetOldest()) mapping = this.pages.mappings.create(domain)
    if (mapping < 0) throw systemError('ENFILE', 'too many files are open in this cache', 'open', path)
    const inode = new CachedInode(key, path, mapping, domain, (it) => this.writer.lookAtSize(it))
    this.#inodes.set(key, inode)
    this.#idle++
    return inode
  }

  #openForWriting(inode: CachedInode, path: string): void {
    if (inode.writeFd < 0) inode.writeFd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
    const { key } = CachedInode.stampOf(fs.fstatSync(inode.writeFd, { bigint: true }))
    if (key === inode.key) return
    this.#closeFd(inode.writeFd)
    inode.writeFd = -1
    throw systemError('ESTALE', 'another file has taken the name', 'open', path)
  }

  /** The file is not what it was: nothing that is known of it counts any more. */
  #renew(inode: CachedInode, size: number): void {
    this.pages.drop(inode.mapping, 0, PAGES_MAX)
    this.#layouts.serveAlone(inode)
    inode.size = size
    this.pages.mappings.setSize(inode.mapping, size)
  }

  /** Of the inodes that nobody has open, the one that was used longest ago; false where there is none. */
  #forgetOldest(): boolean {
    for (const inode of this.#inodes.values()) {
      if (inode.uses > 0) continue
      this.#forget(inode)
      return true
    }
    return false
  }

  #forget(inode: CachedInode): void {
    this.#inodes.delete(inode.key)
    this.#idle--
    this.#homes?.release(inode.homes)
    this.pages.deleteMapping(inode.mapping)
  }

  /** Where there is no space: homes that nobody uses now are dropped. */
  async #makeSpace(): Promise<void> {
    this.letHomesGo(Date.now())
    await this.#homes?.homes.dropUnused()
  }
}
