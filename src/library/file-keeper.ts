/**
 * The keeper of files: opens them, decides how they are served, loads and writes. One thread, the one that made the cache.
 *
 * ```
 *   open    stat → known and as it was? its pages are still good : all is dropped → which homes?
 *   load    file pages → pieces (own, or a home's) → loader
 *   write   pages become the file's own → are dropped → the file is written → whole pages are cached anew
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
import { CachedInode, NO_STAMP } from './cached-inode.ts'
import { CachedInodes } from './cached-inodes.ts'
import { CombinedWrites, writeBuffers } from './combined-writes.ts'
import type { DirectMemory } from './direct-memory.ts'
import { systemError, withPath } from './errors.ts'
import { cacheWritten, piecesOf } from './file-pieces.ts'
import { FileGrants } from './grants/file-grants.ts'
import { type LoadPassage, Passages } from './grants/passages.ts'
import type { HomeSources } from './home-sources.ts'
import { Loader } from './loader.ts'
import { type MergeOptions, type MergeStats, Merging } from './merging.ts'
import type { Native } from './native.ts'

const openFile = promisify(fs.open)

/** After so long without an open file an inode lets its homes go: they pin what their files have overwritten. */
const HOMES_IDLE_MS = 5 * 60_000

export interface FileKeeperOptions {
  /** Whether to read past the kernel's own cache where that can be done. */
  readonly direct: boolean
  /** Undefined: nothing is read where it lies. */
  readonly dax?: DirectMemory | undefined
  /** Who decides on grants. */
  readonly authority: GrantAuthority
  /** How long reads and writes wait for them. */
  readonly waitMs: number
}

export class FileKeeper {
  readonly pages: PageKeeper
  readonly loader: Loader
  readonly grants: FileGrants
  readonly passages: Passages
  readonly #arena: Arena
  readonly #homes: HomeSources | undefined
  readonly #inodes: CachedInodes
  readonly #sweeping: NodeJS.Timeout
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
    const { dax, direct } = options
    this.#inodes = new CachedInodes(pages, { native, homes, dax, direct }, (inode) => this.#lookAtSize(inode))
    this.passages = new Passages(options.authority, options.waitMs)
    this.grants = new FileGrants({
      authority: options.authority,
      exclusion: new Exclusion(memory, pages),
      pages,
      arena,
      close: (inode) => this.close(inode),
      makeSpace: () => this.#makeSpace(),
      cacheWritten: (inode, bytes, position) => cacheWritten(pages, arena, inode, bytes, position, 0),
    })
    this.#sweeping = setInterval(() => this.letHomesGo(Date.now() - HOMES_IDLE_MS), HOMES_IDLE_MS / 5).unref()
  }

  /**
   * Opens a regular file; to be given back with {@link close}. Rejects with the system's error, and with EBUSY where it is open in another domain: a file is of one at a
   * time.
   */
  async open(path: string, writable: boolean, domain: number): Promise<CachedInode> {
    const inode = this.#inodes.take(path, await openFile(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), domain)
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
    const inode = this.#inodes.take(path, fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), domain)
    try {
      if (writable) this.#openForWriting(inode, path)
      return inode
    } catch (error) {
      this.close(inode)
      throw error
    }
  }

  close(inode: CachedInode): void {
    this.#inodes.close(inode)
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
      return passage.hasWaited ? await this.grants.readInside(inode, page, wanted) : undefined
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

  /**
   * Writes all of `bytes` through to the file. Rejects with the system's error; then part of it may have been written. Where there is no space, homes that nobody
   * uses now are dropped, and it is tried again. Grants as for {@link load}.
   */
  async write(inode: CachedInode, bytes: Uint8Array, position: number, wait = true): Promise<void> {
    await this.#using(inode, async () => {
      const leave = await this.passages.change(inode, position, position + bytes.length, wait)
      try {
        await this.#write(inode, bytes, position)
      } finally {
        leave()
      }
    })
  }

  async #write(inode: CachedInode, bytes: Uint8Array, position: number): Promise<void> {
    const end = this.#beginWrite(inode, bytes.length, position)
    try {
      inode.writes ??= new CombinedWrites(
        (buffers, at) => writeBuffers(inode.writeFd, buffers, at),
        () => this.#makeSpace(),
      )
      await inode.writes.write(bytes, position)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      this.#lookAtSize(inode)
    }
  }

  /** The same, blocking; does not wait for grants. */
  writeSync(inode: CachedInode, bytes: Uint8Array, position: number, near: number): void {
    const leave = this.passages.changeSync(inode, position, position + bytes.length)
    const end = this.#beginWrite(inode, bytes.length, position)
    try {
      for (let done = 0; done < bytes.length; )
        done += fs.writeSync(inode.writeFd, bytes, done, bytes.length - done, position + done)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      leave()
      this.#lookAtSize(inode)
    }
    cacheWritten(this.pages, this.#arena, inode, bytes, position, near)
  }

  /** Sets the file's length. Rejects with the system's error. Grants behind the new end as for {@link load}. */
  async truncate(inode: CachedInode, length: number): Promise<void> {
    await this.#using(inode, async () => {
      const leave = await this.passages.change(inode, length, Number.POSITIVE_INFINITY, true)
      try {
        this.#truncate(inode, length)
      } finally {
        leave()
      }
    })
  }

  /** The same, blocking; does not wait for grants. */
  truncateSync(inode: CachedInode, length: number): void {
    const leave = this.passages.changeSync(inode, length, Number.POSITIVE_INFINITY)
    try {
      this.#truncate(inode, length)
    } finally {
      leave()
    }
  }

  #truncate(inode: CachedInode, length: number): void {
    const end = this.#beginChange(inode, Math.min(length, inode.size), Number.POSITIVE_INFINITY)
    try {
      fs.ftruncateSync(inode.writeFd, length)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      this.#lookAtSize(inode)
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
    await this.loader.settled()
    await this.#homes?.close()
  }

  #openForWriting(inode: CachedInode, path: string): void {
    // What is stored there lies in the processor's caches until somebody flushes them, and no system call does.
    if (inode.window !== undefined) throw systemError('EROFS', 'device DAX is read only', 'open', path)
    if (inode.writeFd < 0) inode.writeFd = fs.openSync(path, fs.constants.O_RDWR)
    const { key } = CachedInode.stampOf(fs.fstatSync(inode.writeFd, { bigint: true }))
    if (key === inode.key) return
    fs.closeSync(inode.writeFd)
    inode.writeFd = -1
    throw systemError('ESTALE', 'another file has taken the name', 'open', path)
  }

  /** The inode's descriptors stay open until `run` has ended. */
  async #using(inode: CachedInode, run: () => Promise<void>): Promise<void> {
    inode.uses++
    try {
      await run()
    } finally {
      this.close(inode)
    }
  }

  /** Where there is no space: homes that nobody uses now are dropped. */
  async #makeSpace(): Promise<void> {
    this.letHomesGo(Date.now())
    await this.#homes?.homes.dropUnused()
  }

  #beginWrite(inode: CachedInode, length: number, position: number): () => void {
    this.loader.merging?.pages.wrote(
      inode.mapping,
      Math.floor(position / PAGE_BYTES),
      Math.ceil((position + length) / PAGE_BYTES),
    )
    // What lies between the file's end and a write behind it becomes zeros.
    return this.#beginChange(inode, Math.min(position, inode.size), position + length)
  }

  /** Before bytes [start, end) of the file change. They are not cached again until the returned function is called. */
  #beginChange(inode: CachedInode, start: number, end: number): () => void {
    // It is not what was decided on: whoever opens it next finds that out, and whether somebody else has changed it, too.
    inode.stamp = NO_STAMP
    inode.own?.add(start, end)
    this.pages.drop(inode.mapping, Math.floor(start / PAGE_BYTES), Math.min(Math.ceil(end / PAGE_BYTES), PAGES_MAX))
    return inode.beginWriting(start, end)
  }

  #lookAtSize(inode: CachedInode): void {
    const size = fs.fstatSync(inode.fd).size
    // What was beyond the end is not there, even if it comes back; and what is there now, whoever put it there, is the file's own.
    if (size !== inode.size) {
      const end = Math.min(size, inode.size)
      inode.own?.add(end, Number.POSITIVE_INFINITY)
      this.pages.drop(inode.mapping, Math.floor(end / PAGE_BYTES), PAGES_MAX)
    }
    inode.size = size
    this.pages.mappings.setSize(inode.mapping, size)
  }
}
