/**
 * An open file as its thread works with it, behind the methods that users see: how it is served now, and the three ways to its bytes: memory, the keeper, and past
 * the cache.
 */
import fs from 'node:fs'
import { PAGE_BYTES } from '../cache/entry.ts'
import type { ExclusionReader } from '../cache/grants/exclusion.ts'
import type { Pins } from '../cache/pins.ts'
import { Readahead, WINDOW_MAX } from '../cache/readahead.ts'
import { OWN } from '../cache/run-map.ts'
import type { Door, OpenedFile } from './door.ts'
import { callBytes, goneError, systemError, withPath } from './errors.ts'
import type { Holder } from './grants/holder.ts'
import { refusedError } from './grants/refused.ts'
import { FileLayout } from './layout.ts'
import type { PageReader } from './page-reader.ts'
import { reasonOf } from './signals.ts'

/** What a file needs of its cache, on its thread. */
export interface FileContext {
  readonly reader: PageReader
  readonly pins: Pins
  /** For reads past the cache where the keeper cannot be asked. */
  readonly exclusion: ExclusionReader
  readonly door: Door
  readonly holder: Holder
  readonly isDebug: boolean
}

/** How often a read looks again for pages that were there and have gone, before it reads past the cache. */
export const TRIES_MAX = 3

/** Pages to load from `page` on, of which the first `wanted` are asked for. */
interface Wish {
  readonly page: number
  readonly count: number
  readonly wanted: number
}

export class OpenFile {
  readonly path: string
  readonly context: FileContext
  readonly id: number
  readonly readahead = new Readahead()
  /** How it is served, as this thread knows. */
  layout: FileLayout
  readonly #fd: number
  #isSuggesting = false

  constructor(context: FileContext, path: string, opened: OpenedFile) {
    this.path = path
    this.context = context
    this.id = opened.id
    this.#fd = opened.fd
    this.layout = new FileLayout(opened.layout)
  }

  /** As fstat(2). */
  statSync(): fs.Stats {
    try {
      const stat = fs.fstatSync(this.#fd)
      if (this.context.reader.lookup.isClosed) throw this.endedError('fstat')
      return stat
    } catch (error) {
      throw withPath(error, this.path)
    }
  }

  /** Copies what is in memory; fewer bytes where a page is missing, none where the file is served in another way by now. */
  copy(buffer: Uint8Array, offset: number, count: number, position: number): number {
    const layout = this.layout
    const { reader } = this.context
    const done = reader.copy(layout, position, buffer, offset, count)
    // After the copy: mappings of homes that the layout names may have been given to others since it was asked for.
    return reader.lookup.layoutOf(layout.mapping) === layout.version ? done : 0
  }

  /** The rest of a blocking read from `done` on, where a page is missing. */
  readMissing(buffer: Uint8Array, offset: number, count: number, position: number, done: number): number {
    if (this.context.door.now === undefined) {
      this.suggest(position + done, count - done)
      return this.readPast(buffer, offset, count, position)
    }
    for (let tries = 0, isFirst = true; tries < TRIES_MAX && !this.isPast(position + done); tries++) {
      this.loadWindowSync(position + done, count - done, isFirst)
      isFirst = false
      const more = this.copy(buffer, offset + done, count - done, position + done)
      done += more
      if (done === count) return count
      if (more > 0) tries = 0
    }
    return this.readPast(buffer, offset, count, position)
  }

  /** Whether nothing is cached of the page at `position`: who reads it reads past the cache. */
  isPast(position: number): boolean {
    const { layout } = this
    if (!layout.isPast(Math.floor(position / PAGE_BYTES))) return false
    // Where it is served in another way by now, asking the keeper tells how.
    return this.context.reader.lookup.layoutOf(layout.mapping) === layout.version
  }

  /** Straight from the file: always right, and nothing is cached. Throws EAGAIN where pages are granted to somebody: what blocks waits for no holder. */
  readPast(buffer: Uint8Array, offset: number, length: number, position: number): number {
    const from = Math.floor(position / PAGE_BYTES)
    const to = Math.ceil((position + length) / PAGE_BYTES)
    const { door, exclusion } = this.context
    const read = () => this.#readPast(buffer, offset, length, position)
    if (door.now !== undefined) return door.now.readPastSync(this.id, from, to, read)
    const count = exclusion.read(this.layout.mapping, from, to, read)
    if (count === undefined) throw refusedError('EAGAIN', 'read', this.path)
    return count
  }

  #readPast(buffer: Uint8Array, offset: number, length: number, position: number): number {
    if (this.layout.windowOf(OWN) !== undefined) return this.#readDevice(buffer, offset, length, position)
    try {
      let done = 0
      while (done < length) {
        const count = fs.readSync(this.#fd, buffer, offset + done, callBytes(length - done), position + done)
        if (count === 0) break
        done += count
      }
      // The descriptor is the cache's, and its number is somebody else's once that is closed.
      if (this.context.reader.lookup.isClosed) throw this.endedError()
      return done
    } catch (error) {
      throw withPath(error, this.path)
    }
  }

  /** Devices with a window of their own have no other way. */
  #readDevice(buffer: Uint8Array, offset: number, length: number, position: number): number {
    const { reader } = this.context
    const count = reader.clip(this.layout, position, length)
    for (let done = 0; done < count; ) {
      const page = Math.floor((position + done) / PAGE_BYTES)
      const within = position + done - page * PAGE_BYTES
      const part = Math.min(PAGE_BYTES - within, count - done)
      reader.copyDirect(this.layout, page, within, buffer, offset + done, part)
      done += part
    }
    if (reader.lookup.isClosed) throw this.endedError()
    return count
  }

  /** Has the keeper load a range that nobody waits for. One at a time: a thread that reads in a loop takes no answers meanwhile. */
  suggest(position: number, length: number): void {
    if (this.#isSuggesting) return
    this.#isSuggesting = true
    // What cannot be read tells whoever reads it.
    const done = () => {
      this.#isSuggesting = false
    }
    this.load(position, length).then(done, done)
  }

  /** `wait`: for grants, until `signal` aborts; else it rejects with EAGAIN. Resolves with the bytes, fewer at the file's end, where it has waited for one. */
  load(position: number, length: number, wait = true, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#load(position, length, true, Number.POSITIVE_INFINITY, wait, signal)
  }

  /** The same of the first window of the range: who copies it has no use for more at once, and more may not fit. `isFirst`: nothing of what is read here was loaded for it before. */
  loadWindow(
    position: number,
    length: number,
    isFirst: boolean,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return this.#load(position, length, isFirst, WINDOW_MAX, wait, signal)
  }

  loadWindowSync(position: number, length: number, isFirst: boolean): void {
    this.#loadSync(this.#wish(position, length, isFirst, WINDOW_MAX))
  }

  async #renewLayout(): Promise<void> {
    if (this.context.reader.lookup.layoutOf(this.layout.mapping) !== this.layout.version)
      this.layout = new FileLayout(await this.context.door.layout(this.id))
  }

  async #load(
    position: number,
    length: number,
    isFirst: boolean,
    most: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    try {
      await this.#renewLayout()
      const { page, count, wanted } = this.#wish(position, length, isFirst, most)
      // It never tells of having been aborted.
      if (signal?.aborted !== true) {
        const bytes = await this.context.door.load(this.id, page, count, wanted, wait, signal)
        const start = position - page * PAGE_BYTES
        return bytes?.subarray(start, start + length)
      }
    } catch (error) {
      throw withPath(error, this.path)
    }
    throw reasonOf(signal)
  }

  #loadSync({ page, count, wanted }: Wish): void {
    const now = this.now('readSync')
    const { lookup } = this.context.reader
    if (lookup.layoutOf(this.layout.mapping) !== this.layout.version)
      this.layout = new FileLayout(now.layoutSync(this.id))
    now.loadSync(this.id, page, count, wanted)
  }

  /** What to load for a reader who misses at `position` and wants `length` bytes: at most `most` pages of them. */
  #wish(position: number, length: number, isFirst: boolean, most: number): Wish {
    const page = Math.floor(position / PAGE_BYTES)
    // The length may be anything, the file's end is not.
    const end = position + this.context.reader.clip(this.layout, position, length)
    const wanted = Math.max(0, Math.ceil(end / PAGE_BYTES) - page)
    this.readahead.fit(this.context.reader.lookup.framesLimit)
    const count = isFirst ? this.readahead.missed(page, wanted) : wanted
    return wanted > most ? { page, count: most, wanted: most } : { page, count, wanted }
  }

  /** `count` bytes at `position` were read. Where a sequential reader has come far enough by that, the next window is loaded while it reads this one. */
  readAhead(position: number, count: number): void {
    const { readahead } = this
    const { lookup } = this.context.reader
    if (position + count < readahead.marker * PAGE_BYTES) return
    readahead.fit(lookup.framesLimit)
    const ahead = readahead.reached(Math.floor(position / PAGE_BYTES))
    if (ahead === undefined || ahead * PAGE_BYTES >= lookup.sizeOf(this.layout.mapping)) return
    // What fails here fails again for whoever asks for it.
    this.context.door.load(this.id, ahead, readahead.window, 0, false).catch(() => {})
  }

  /** What answers at once; throws on threads where nothing does. */
  now(method: string): NonNullable<Door['now']> {
    const { now } = this.context.door
    if (now !== undefined) return now
    const why = `${method} works on the thread that made the cache only; here use the method that returns a promise`
    throw Object.assign(new Error(why), { code: 'ERR_METHOD_NOT_SUPPORTED' })
  }

  /** The cache has ended, or this thread's part in it. */
  endedError(syscall = 'read'): Error {
    const { door } = this.context
    return door.now !== undefined || door.ended === 'here'
      ? this.closedError(syscall)
      : withPath(goneError(), this.path)
  }

  closedError(syscall = 'read'): Error {
    return systemError('EBADF', 'the file is closed', syscall, this.path)
  }
}
