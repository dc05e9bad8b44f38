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
import { NO_FRAME } from '../cache/frames.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN, RunMap } from '../cache/run-map.ts'
import type { LinuxHome } from '../homes/linux-home-storage.ts'
import type { Serving } from '../homes/serving.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import type { Arena } from './arena.ts'
import { CachedInode, type FileIdentity, type FileStamp, isSameFileStamp, NO_STAMP } from './cached-inode.ts'
import { systemError, withPath } from './errors.ts'
import type { HomeSources } from './home-sources.ts'
import { Loader } from './loader.ts'
import { type MergeOptions, type MergeStats, Merging } from './merging.ts'
import type { Native } from './native.ts'
import type { PageSource } from './page-source.ts'

const openFile = promisify(fs.open)
const writeFile = promisify(fs.write)

/** Inodes remembered that nobody has open. */
const IDLE_MAX = 1024
/** After so long without an open file an inode lets its homes go: they pin what their files have overwritten. */
const HOMES_IDLE_MS = 5 * 60_000
/** Two changes within so many milliseconds may get the same ctime (kernels before 6.13). */
const GRANULARITY_MS = 20
/** Where open writers cannot be seen: no write takes longer. */
const SETTLED_MS = 5000
/** A write of more is not cached as it passes. */
const CACHED_WRITE_BYTES_MAX = 1 << 20

export interface FileKeeperOptions {
  /** Whether to read past the kernel's own cache where that can be done. */
  readonly direct: boolean
}

export class FileKeeper {
  readonly pages: PageKeeper
  readonly loader: Loader
  readonly #arena: Arena
  readonly #native: Native | undefined
  readonly #homes: HomeSources | undefined
  readonly #options: FileKeeperOptions
  /** By key; those that nobody has open last used last. */
  readonly #inodes = new Map<string, CachedInode>()
  readonly #walk = new PieceWalk()
  readonly #sweeping: NodeJS.Timeout
  #merging: Promise<Merging> | undefined
  #idle = 0

  constructor(
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
    this.#options = options
    this.#sweeping = setInterval(() => this.letHomesGo(Date.now() - HOMES_IDLE_MS), HOMES_IDLE_MS / 5).unref()
  }

  /**
   * Opens a regular file; to be given back with {@link close}. Rejects with the system's error, and with EBUSY where it is open in another domain: a file is of one at a
   * time.
   */
  async open(path: string, writable: boolean, domain: number): Promise<CachedInode> {
    const inode = this.#take(path, await openFile(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), domain)
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
    for (const fd of [inode.fd, inode.directFd, inode.writeFd]) if (fd >= 0) fs.closeSync(fd)
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
      this.#serveAlone(inode)
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
    await this.load(inode, page, count, count, near)
    for (const piece of this.#pieces(inode, page, count))
      merging.mergeNow(this.pages.mappingOn(piece.source.mapping, near), piece.page, piece.count)
    return merging.stats()
  }

  /** Loads what is missing of `count` pages of the file from `page` on, of which the first `wanted` are asked for, from the node `near`; see {@link Loader}. */
  async load(inode: CachedInode, page: number, count: number, wanted: number, near: number): Promise<void> {
    inode.uses++
    const { homes } = inode
    this.#homes?.hold(homes)
    try {
      for (const piece of this.#pieces(inode, page, count))
        await this.loader.load(
          piece.source,
          piece.page,
          piece.count,
          Math.max(0, Math.min(piece.count, wanted - piece.done)),
          near,
        )
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      this.#homes?.release(homes)
      this.close(inode)
    }
  }

  /** The same, blocking. */
  loadSync(inode: CachedInode, page: number, count: number, wanted: number, near: number): void {
    try {
      for (const piece of this.#pieces(inode, page, count))
        this.loader.loadSync(
          piece.source,
          piece.page,
          piece.count,
          Math.max(0, Math.min(piece.count, wanted - piece.done)),
          near,
        )
    } catch (error) {
      throw withPath(error, inode.path)
    }
  }

  /**
   * Writes all of `bytes` through to the file. Rejects with the system's error; then part of it may have been written. Where there is no space, homes that nobody
   * uses now are dropped, and it is tried again.
   */
  async write(inode: CachedInode, bytes: Uint8Array, position: number): Promise<void> {
    const end = this.#beginWrite(inode, bytes.length, position)
    inode.uses++
    try {
      let done = 0
      const write = async () => {
        while (done < bytes.length)
          done += (await writeFile(inode.writeFd, bytes, done, bytes.length - done, position + done)).bytesWritten
      }
      await write().catch(async (error: unknown) => {
        if (this.#homes === undefined || !isNoSpace(error)) throw error
        this.letHomesGo(Date.now())
        await this.#homes.homes.dropUnused()
        await write()
      })
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      try {
        this.#lookAtSize(inode)
      } finally {
        this.close(inode)
      }
    }
  }

  /** The same, blocking. */
  writeSync(inode: CachedInode, bytes: Uint8Array, position: number, near: number): void {
    const end = this.#beginWrite(inode, bytes.length, position)
    try {
      for (let done = 0; done < bytes.length; )
        done += fs.writeSync(inode.writeFd, bytes, done, bytes.length - done, position + done)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      this.#lookAtSize(inode)
    }
    this.#cacheWritten(inode, bytes, position, near)
  }

  /** Sets the file's length. Throws the system's error. */
  truncateSync(inode: CachedInode, length: number): void {
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
  #take(path: string, fd: number, domain: number): CachedInode {
    let keep = false
    try {
      const stat = fs.fstatSync(fd, { bigint: true })
      if (!stat.isFile()) throw notAFile(path, stat.isDirectory())
      const stamp = CachedInode.stampOf(stat)
      const inode = this.#known(stamp.key, path, domain) ?? this.#create(stamp.key, path, domain)
      if (inode.uses++ === 0) {
        this.#idle--
        inode.fd = fd
        inode.directFd = this.#options.direct && this.#native !== undefined ? this.#native.reopenDirect(fd) : -1
        keep = true
      }
      if (!isSameFileStamp(inode.stamp, stamp)) this.#renew(inode, stamp.size)
      else if (Date.now() < inode.recheckAtMs) return inode
      inode.stamp = stamp
      inode.deciding = this.#decide(inode, path, stamp).finally(() => {
        inode.deciding = undefined
      })
      // What is being changed now may have got its ctime already, and its bytes will come later.
      if (!this.#isAtRest(fd, stamp)) inode.stamp = NO_STAMP
      return inode
    } finally {
      if (!keep) fs.closeSync(fd)
    }
  }

  /** Whether nobody is changing the file now: what changes it from now on gives it another stamp. */
  #isAtRest(fd: number, stamp: FileStamp): boolean {
    const isBeingWritten = this.#native?.isOpenForWriting(fd)
    const ageMs = Date.now() - Number(stamp.ctimeNs / 1_000_000n)
    return isBeingWritten !== true && ageMs > (isBeingWritten === false ? GRANULARITY_MS : SETTLED_MS)
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
    let mapping = this.pages.createMapping(domain)
    while (mapping < 0 && this.#forgetOldest()) mapping = this.pages.createMapping(domain)
    if (mapping < 0) throw systemError('ENFILE', 'too many files are open in this cache', 'open', path)
    const inode = new CachedInode(key, path, mapping, domain, (it) => this.#lookAtSize(it))
    this.#inodes.set(key, inode)
    this.#idle++
    return inode
  }

  #openForWriting(inode: CachedInode, path: string): void {
    if (inode.writeFd < 0) inode.writeFd = fs.openSync(path, fs.constants.O_RDWR)
    const { key } = CachedInode.stampOf(fs.fstatSync(inode.writeFd, { bigint: true }))
    if (key === inode.key) return
    fs.closeSync(inode.writeFd)
    inode.writeFd = -1
    throw systemError('ESTALE', 'another file has taken the name', 'open', path)
  }

  /** The file is not what it was: nothing that is known of it counts any more. */
  #renew(inode: CachedInode, size: number): void {
    this.pages.drop(inode.mapping, 0, PAGES_MAX)
    this.#serveAlone(inode)
    inode.size = size
    this.pages.setSize(inode.mapping, size)
  }

  #serveAlone(inode: CachedInode): void {
    this.#homes?.release(inode.homes)
    inode.homes = []
    inode.serveAlone(this.pages.changeLayout(inode.mapping))
  }

  async #decide(inode: CachedInode, path: string, stamp: FileStamp & FileIdentity): Promise<void> {
    const { dev, ino } = stamp
    let serving: Serving<LinuxHome> | undefined
    try {
      serving = await this.#homes?.homes.serve({ path, dev, ino, domain: inode.domain })
    } catch {
      // Without sharing it can be read all the same.
    }
    // It may have been closed and forgotten meanwhile.
    if (serving === undefined || this.#inodes.get(inode.key) !== inode) return
    inode.recheckAtMs = serving.remember ? serving.recheckAtMs : 0
    // Since it was asked the file may have been changed, or opened anew.
    if (serving.kind === 'private' || inode.map !== undefined || !isSameFileStamp(inode.stamp, stamp)) return
    const { ctimeSec, ctimeNsec, size } = serving.stamp
    if (!isSameFileStamp(stamp, { ctimeNs: BigInt(ctimeSec) * 1_000_000_000n + BigInt(ctimeNsec), size })) return
    this.#serveByHomes(inode, serving)
  }

  #serveByHomes(inode: CachedInode, serving: Exclude<Serving<LinuxHome>, { kind: 'private' }>): void {
    const homes = serving.kind === 'pristine' ? [serving.home] : serving.homes
    const mappings = new Int32Array(Math.max(...homes.map(({ number }) => number)) + 1).fill(-1)
    for (const home of homes) {
      const mapping = this.#homes!.acquire(home, inode.domain)
      if (mapping < 0) {
        this.#serveAlone(inode)
        return
      }
      inode.homes = [...inode.homes, home.number]
      mappings[home.number] = mapping
    }
    const map = serving.kind === 'pristine' ? wholeOf(serving.home.number, serving.stamp.size) : serving.map
    inode.serveByHomes(map, mappings, this.pages.changeLayout(inode.mapping))
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

  /** From pages of the file to pages of what they are loaded from. `done`: how many pages lie before. */
  #pieces(inode: CachedInode, page: number, count: number): Piece[] {
    const { map, own } = inode
    if (map === undefined) return [{ source: inode, page, count, done: 0 }]
    const walk = this.#walk
    const pieces: Piece[] = []
    walk.start(map, page * PAGE_BYTES, Math.min(count * PAGE_BYTES, Math.max(0, inode.size - page * PAGE_BYTES)), own)
    while (walk.next())
      pieces.push({
        source: walk.home === OWN ? inode : this.#homes!.get(walk.home),
        page: walk.offset / PAGE_BYTES,
        count: Math.ceil(walk.length / PAGE_BYTES),
        done: walk.done / PAGE_BYTES,
      })
    return pieces
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

  #cacheWritten(inode: CachedInode, bytes: Uint8Array, position: number, near: number): void {
    if (bytes.length > CACHED_WRITE_BYTES_MAX) return
    const end = position + bytes.length
    const mapping = this.pages.mappingOn(inode.mapping, near)
    for (let page = Math.ceil(position / PAGE_BYTES); (page + 1) * PAGE_BYTES <= end; page++) {
      if (this.pages.isCached(mapping, page) || this.pages.isLoading(mapping, page)) continue
      // Another write to it is under way: which of them is the last nobody knows.
      if (!inode.isAtRest(page, 1)) continue
      const frame = this.pages.reserve(mapping, page, near)
      if (frame === NO_FRAME) return
      const at = page * PAGE_BYTES - position
      this.#arena.bytes(frame).set(bytes.subarray(at, at + PAGE_BYTES))
      this.pages.publish(frame, true)
    }
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
    this.pages.setSize(inode.mapping, size)
  }
}

interface Piece {
  readonly source: PageSource
  readonly page: number
  readonly count: number
  readonly done: number
}

function isNoSpace(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT'
}

function wholeOf(home: number, size: number): RunMap {
  return RunMap.build([{ filePage: 0, pageCount: Math.ceil(size / PAGE_BYTES), home, homePage: 0 }], size)
}

function notAFile(path: string, isDirectory: boolean): Error {
  return isDirectory
    ? systemError('EISDIR', 'illegal operation on a directory', 'open', path)
    : systemError('EINVAL', 'not a regular file', 'open', path)
}
