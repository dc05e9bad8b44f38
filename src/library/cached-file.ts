/** An open file of a cache. */
import fs from 'node:fs'
import { Readable } from 'node:stream'
import { PAGE_BYTES } from '../cache/entry.ts'
import { FOUND } from '../cache/lookup.ts'
import type { Pins } from '../cache/pins.ts'
import { ADVICE, Readahead } from '../cache/readahead.ts'
import type { Door, OpenedFile } from './door.ts'
import { withPath } from './errors.ts'
import { FileLayout } from './layout.ts'
import type { PageReader } from './page-reader.ts'
import { View } from './view.ts'

/** Where a read begins and what it may fill: as for `fs.read`, all in bytes. */
export interface ReadOptions {
  /** In the file. */
  readonly position: number
  /** In the buffer; 0 if not given. */
  readonly offset?: number
  /** At most so many bytes; to the buffer's end if not given. */
  readonly length?: number
}

/** Of calls that return a promise. */
export interface AsyncOptions {
  /** Gives the call up: it rejects with the signal's reason. What is being read meanwhile goes on to its end, and is cached. */
  readonly signal?: AbortSignal
}

/** What a stream gives, in bytes: as for `fs.createReadStream`. */
export interface StreamOptions extends AsyncOptions {
  /** The first byte; 0 if not given. */
  readonly start?: number
  /** The last byte, inclusive, as `fs.createReadStream` has it. */
  readonly end?: number
  /** Bytes that the stream holds ready, and that one chunk has at most. Default 64 KiB. */
  readonly highWaterMark?: number
}

/** What is to come: for {@link CachedFile.advise}. */
export type FileAdvice = 'normal' | 'sequential' | 'random' | 'willneed' | 'dontneed'

/** @internal What a file needs of its cache, on its thread. */
export interface FileContext {
  readonly reader: PageReader
  readonly pins: Pins
  readonly door: Door
  readonly isDebug: boolean
}

/** How often a read looks again for pages that were there and have gone, before it reads past the cache. */
const TRIES_MAX = 3
const STREAM_BYTES = 64 * 1024

/**
 * A file that is read through the cache, and written through it to where it lies. Made by {@link PageCache.open}.
 *
 * **Hits** (`tryRead`, `readSync`, `viewSync` of what is in memory) cost no system call and wait for no other thread. **Misses** are read from the file by the thread that made the
 * cache; a `…Sync` method on another thread does not wait for that one, but reads past the cache.
 *
 * Errors are Node's: `code`, `syscall`, `path`. Besides those of the system each method can throw (or reject with) `EBADF`, where the file is closed or is not open for writing;
 * `ERR_OUT_OF_RANGE`, a RangeError, where a position or a length makes no sense; `ERR_METHOD_NOT_SUPPORTED` and `ECONNRESET` as it says at the method, or in {@link PageCache}.
 *
 * Context: the thread that opened it.
 */
export class CachedFile implements AsyncDisposable, Disposable {
  /** As it was given to `open`. */
  readonly path: string
  /** Whether it was opened with `r+`. */
  readonly writable: boolean
  readonly #context: FileContext
  readonly #id: number
  readonly #fd: number
  readonly #readahead = new Readahead()
  #layout: FileLayout
  #isClosed = false
  #isSuggesting = false

  /** @internal */
  constructor(context: FileContext, path: string, writable: boolean, opened: OpenedFile) {
    this.path = path
    this.writable = writable
    this.#context = context
    this.#id = opened.id
    this.#fd = opened.fd
    this.#layout = new FileLayout(opened.layout)
  }

  /** The size in bytes, as this cache knows it. */
  get size(): number {
    return this.#context.reader.lookup.sizeOf(this.#layout.mapping)
  }

  /** As `fs.fstat`, of the file as it is now. */
  statSync(): fs.Stats {
    this.#checkOpen()
    const stat = fs.fstatSync(this.#fd)
    if (this.#context.reader.lookup.isClosed) throw this.#closedError()
    return stat
  }

  /** The same, as a promise. */
  async stat(): Promise<fs.Stats> {
    return this.statSync()
  }

  /**
   * Reads what is in memory, and never blocks: the bytes read (0 at the file's end), or undefined where any of them is not in memory. Then `buffer` may have been
   * written to in part.
   */
  tryRead(buffer: Uint8Array, options: ReadOptions): number | undefined {
    this.#checkOpen()
    const { position, offset = 0, length = buffer.length - offset } = options
    checkRange(buffer, position, offset, length)
    const count = this.#context.reader.clip(this.#layout, position, length)
    return this.#copy(buffer, offset, count, position) === count ? count : undefined
  }

  /** Reads, as `fs.readSync`: the bytes read, 0 at the file's end. Blocks on a miss; on another thread than the one that made the cache it reads past the cache then. */
  readSync(buffer: Uint8Array, options: ReadOptions): number {
    this.#checkOpen()
    const { position, offset = 0, length = buffer.length - offset } = options
    checkRange(buffer, position, offset, length)
    const count = this.#context.reader.clip(this.#layout, position, length)
    const done = this.#copy(buffer, offset, count, position)
    return done === count ? count : this.#readMissing(buffer, offset, count, position, done)
  }

  /** Reads, as `fs.promises` does: resolves with the bytes read, 0 at the file's end. */
  async read(buffer: Uint8Array, options: ReadOptions & AsyncOptions): Promise<number> {
    this.#checkOpen()
    const { position, signal } = options
    const offset = options.offset ?? 0
    const length = options.length ?? buffer.length - offset
    checkRange(buffer, position, offset, length)
    signal?.throwIfAborted()
    const { reader } = this.#context
    for (let tries = 0, done = 0; tries < TRIES_MAX; tries++) {
      const count = reader.clip(this.#layout, position, length)
      const before = done
      done += this.#copy(buffer, offset + done, count - done, position + done)
      if (done >= count) {
        this.#readAhead(position + count)
        return count
      }
      if (done > before) tries = 0
      await unlessAborted(this.#load(position + done, count - done), signal)
      this.#checkOpen()
    }
    return this.#readPast(buffer, offset, length, position)
  }

  /** Reads into several buffers, as `fs.readv`. */
  async readv(buffers: readonly Uint8Array[], position: number, options: AsyncOptions = {}): Promise<number> {
    let done = 0
    for (const buffer of buffers) {
      const count = await this.read(buffer, { ...options, position: position + done })
      done += count
      if (count < buffer.length) break
    }
    return done
  }

  /** The same; blocks on a miss. */
  readvSync(buffers: readonly Uint8Array[], position: number): number {
    let done = 0
    for (const buffer of buffers) {
      const count = this.readSync(buffer, { position: position + done })
      done += count
      if (count < buffer.length) break
    }
    return done
  }

  /**
   * Bytes of the file where they lie in memory; fewer than `length` at the file's end. Loads what is missing. Pages that find no room, or for which this thread has no pin left, are
   * copies: see {@link View.isPinned}.
   */
  async view(position: number, length: number, { signal }: AsyncOptions = {}): Promise<View> {
    this.#checkOpen()
    checkNumbers(position, length)
    signal?.throwIfAborted()
    const hit = this.#viewPage(position, length)
    if (hit !== undefined) return hit
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const view = this.#view(position, length, false)
      if (view !== undefined) return view
      await unlessAborted(this.#load(position, length), signal)
      this.#checkOpen()
    }
    return this.#view(position, length, true)!
  }

  /** The same; blocks on a miss. On another thread than the one that made the cache, what is missing is a copy from the file. */
  viewSync(position: number, length: number): View {
    this.#checkOpen()
    checkNumbers(position, length)
    const hit = this.#viewPage(position, length)
    if (hit !== undefined) return hit
    const { now } = this.#context.door
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const view = this.#view(position, length, false)
      if (view !== undefined) return view
      if (now === undefined) {
        this.#suggest(position, length)
        break
      }
      this.#loadSync(position, length)
    }
    return this.#view(position, length, true)!
  }

  /** A stream of the file's bytes. */
  createReadStream(options: StreamOptions = {}): Readable {
    this.#checkOpen()
    const { start = 0, end = Number.POSITIVE_INFINITY, highWaterMark = STREAM_BYTES, signal } = options
    let position = start
    const read = async (stream: Readable, size: number): Promise<void> => {
      try {
        const buffer = Buffer.allocUnsafe(Math.min(size, end + 1 - position))
        const count = buffer.length === 0 ? 0 : await this.read(buffer, { position, ...(signal ? { signal } : {}) })
        position += count
        stream.push(count === 0 ? null : buffer.subarray(0, count))
      } catch (error) {
        stream.destroy(error as Error)
      }
    }
    return new Readable({
      highWaterMark,
      ...(signal ? { signal } : {}),
      read(size) {
        void read(this, size)
      },
    })
  }

  /**
   * Writes all of `bytes` to the file, then resolves: other programs see them, and so does everybody who reads through the cache. They are on the disk after
   * {@link sync}.
   */
  async write(bytes: Uint8Array, options: { readonly position: number }): Promise<void> {
    this.#checkWritable()
    checkRange(bytes, options.position, 0, bytes.length)
    if (bytes.length > 0) await this.#context.door.write(this.#id, bytes, options.position)
  }

  /** The same, blocking. Throws `ERR_METHOD_NOT_SUPPORTED` on another thread than the one that made the cache, which alone may write. */
  writeSync(bytes: Uint8Array, options: { readonly position: number }): void {
    this.#checkWritable()
    checkRange(bytes, options.position, 0, bytes.length)
    if (bytes.length > 0) this.#now('writeSync').writeSync(this.#id, bytes, options.position)
  }

  /** Sets the file's length in bytes. */
  async truncate(length = 0): Promise<void> {
    this.#checkWritable()
    checkNumbers(0, length)
    await this.#context.door.truncate(this.#id, length)
  }

  /** The same, blocking; see {@link writeSync}. */
  truncateSync(length = 0): void {
    this.#checkWritable()
    checkNumbers(0, length)
    this.#now('truncateSync').truncateSync(this.#id, length)
  }

  /** As `fs.fsync`: what was written is on the disk when this resolves. */
  async sync(): Promise<void> {
    this.#checkOpen()
    await this.#context.door.sync(this.#id, false)
  }

  /** The same, blocking; see {@link writeSync}. */
  syncSync(): void {
    this.#checkOpen()
    this.#now('syncSync').syncSync(this.#id, false)
  }

  /** As `fs.fdatasync`. */
  async datasync(): Promise<void> {
    this.#checkOpen()
    await this.#context.door.sync(this.#id, true)
  }

  /**
   * Says what is to come, as posix_fadvise(2). `willneed` resolves when the range is loaded, as far as there is room; `dontneed` forgets what is cached of the file alone, a home's
   * pages stay. `sequential`, `random` and `normal` are about all reads through this open file.
   */
  async advise(advice: FileAdvice, position = 0, length = this.size - position): Promise<void> {
    this.#checkOpen()
    checkNumbers(position, Math.max(0, length))
    const first = Math.floor(position / PAGE_BYTES)
    const count = Math.ceil((position + Math.max(0, length)) / PAGE_BYTES) - first
    switch (advice) {
      case 'willneed':
        // Wanted by nobody yet: what cannot be read now tells whoever asks for it.
        return this.#context.door.load(this.#id, first, count, 0)
      case 'dontneed':
        return this.#context.door.forget(this.#id, first, count)
      case 'sequential':
        this.#readahead.advice = ADVICE.SEQUENTIAL
        return
      case 'random':
        this.#readahead.advice = ADVICE.RANDOM
        return
      case 'normal':
        this.#readahead.advice = ADVICE.NORMAL
        return
      default:
        throw new TypeError(`there is no advice ${String(advice)}`)
    }
  }

  /** Closes the file. Its pages stay cached. Views stay what they are until they are disposed. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#context.door.close(this.#id)
  }

  /** The same at once; on another thread than the one that made the cache that one closes it when it comes to it. */
  closeSync(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const { door } = this.#context
    if (door.now === undefined) door.close(this.#id).catch(() => {})
    else door.now.closeSync(this.#id)
  }

  /** {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** {@link closeSync}, for `using`. */
  [Symbol.dispose](): void {
    this.closeSync()
  }

  /** Copies what is in memory; fewer bytes where a page is missing, none where the file is served in another way by now. */
  #copy(buffer: Uint8Array, offset: number, count: number, position: number): number {
    const layout = this.#layout
    const { reader } = this.#context
    const done = reader.copy(layout, position, buffer, offset, count)
    // After the copy: mappings of homes that the layout names may have been given to others since it was asked for.
    return reader.lookup.layoutOf(layout.mapping) === layout.version ? done : 0
  }

  /** The rest of {@link readSync} from `done` on, where a page is missing. */
  #readMissing(buffer: Uint8Array, offset: number, count: number, position: number, done: number): number {
    if (this.#context.door.now === undefined) {
      this.#suggest(position + done, count - done)
      return this.#readPast(buffer, offset, count, position)
    }
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      this.#loadSync(position + done, count - done)
      const more = this.#copy(buffer, offset + done, count - done, position + done)
      done += more
      if (done === count) return count
      if (more > 0) tries = 0
    }
    return this.#readPast(buffer, offset, count, position)
  }

  /** Straight from the file: always right, and nothing is cached. */
  #readPast(buffer: Uint8Array, offset: number, length: number, position: number): number {
    try {
      let done = 0
      while (done < length) {
        const count = fs.readSync(this.#fd, buffer, offset + done, length - done, position + done)
        if (count === 0) break
        done += count
      }
      // The descriptor is the cache's, and its number is somebody else's once that is closed.
      if (this.#context.reader.lookup.isClosed) throw this.#closedError()
      return done
    } catch (error) {
      throw withPath(error, this.path)
    }
  }

  /** Has the keeper load a range that nobody waits for. One at a time: a thread that reads in a loop takes no answers meanwhile. */
  #suggest(position: number, length: number): void {
    if (this.#isSuggesting) return
    this.#isSuggesting = true
    // What cannot be read tells whoever reads it.
    const done = () => {
      this.#isSuggesting = false
    }
    this.#load(position, length).then(done, done)
  }

  async #load(position: number, length: number): Promise<void> {
    const { door, reader } = this.#context
    if (reader.lookup.layoutOf(this.#layout.mapping) !== this.#layout.version)
      this.#layout = new FileLayout(await door.layout(this.#id))
    const page = Math.floor(position / PAGE_BYTES)
    const wanted = Math.ceil((position + length) / PAGE_BYTES) - page
    await door.load(this.#id, page, this.#readahead.missed(page, wanted), wanted)
  }

  #loadSync(position: number, length: number): void {
    const now = this.#now('readSync')
    const { lookup } = this.#context.reader
    if (lookup.layoutOf(this.#layout.mapping) !== this.#layout.version)
      this.#layout = new FileLayout(now.layoutSync(this.#id))
    const page = Math.floor(position / PAGE_BYTES)
    const wanted = Math.ceil((position + length) / PAGE_BYTES) - page
    now.loadSync(this.#id, page, this.#readahead.missed(page, wanted), wanted)
  }

  /** A sequential reader has come to `position`: the next window is loaded while it reads this one. */
  #readAhead(position: number): void {
    const readahead = this.#readahead
    if (position < readahead.marker * PAGE_BYTES) return
    const ahead = readahead.reached()
    if (ahead * PAGE_BYTES >= this.size) return
    // What fails here fails again for whoever asks for it.
    this.#context.door.load(this.#id, ahead, readahead.window, 0).catch(() => {})
  }

  /** The view that most are: of bytes that lie in one page, and that is in memory. */
  #viewPage(position: number, length: number): View | undefined {
    const { reader, pins, isDebug } = this.#context
    const { lookup } = reader
    const layout = this.#layout
    const page = Math.floor(position / PAGE_BYTES)
    const within = position - page * PAGE_BYTES
    if (within + length > PAGE_BYTES || !lookup.isWhole(layout.mapping, page) || isDebug) return undefined
    const frame = reader.find(layout, page)
    if (frame < 0) return undefined
    const { generation } = lookup
    const slot = pins.pin(frame)
    if (slot < 0) return undefined
    if (lookup.isStill(frame, generation) && lookup.layoutOf(layout.mapping) === layout.version) {
      const bytes = reader.arena.bytes(frame)
      return new View([length === PAGE_BYTES ? bytes : bytes.subarray(within, within + length)], [slot], pins, false)
    }
    pins.unpin(slot)
    return undefined
  }

  /** Undefined where a page is missing; with `force` such pages are copies. */
  #view(position: number, length: number, force: boolean): View | undefined {
    const { reader, pins, isDebug } = this.#context
    const layout = this.#layout
    const count = reader.clip(layout, position, length)
    const parts: Uint8Array[] = []
    const slots: number[] = []
    for (let done = 0; done < count; ) {
      const page = Math.floor((position + done) / PAGE_BYTES)
      const within = position + done - page * PAGE_BYTES
      const bytes = Math.min(PAGE_BYTES - within, count - done)
      const frame = reader.find(layout, page)
      const { generation } = reader.lookup
      const slot = frame >= 0 ? pins.pin(frame) : -1
      if (slot >= 0 && reader.lookup.isStill(frame, generation)) {
        parts.push(reader.arena.bytes(frame).subarray(within, within + bytes))
        slots.push(slot)
        done += bytes
        continue
      }
      if (slot >= 0) {
        // It has gone since it was found: look again.
        pins.unpin(slot)
        continue
      }
      if (frame === FOUND.NOTHING && !force) break
      const copy = new Uint8Array(bytes)
      parts.push(frame === FOUND.ZERO ? copy : copy.subarray(0, this.#readPast(copy, 0, bytes, position + done)))
      slots.push(-1)
      done += bytes
    }
    const view = new View(isDebug ? parts.map((part) => part.slice()) : parts, slots, pins, isDebug)
    const isCurrent = reader.lookup.layoutOf(layout.mapping) === layout.version
    if (isCurrent && (force || view.length === count)) return view
    view.dispose()
    if (!force) return undefined
    const copy = new Uint8Array(length)
    return new View([copy.subarray(0, this.#readPast(copy, 0, length, position))], [-1], pins, isDebug)
  }

  #now(method: string): NonNullable<Door['now']> {
    const { now } = this.#context.door
    if (now !== undefined) return now
    const why = `${method} works on the thread that made the cache only; here use the method that returns a promise`
    throw Object.assign(new Error(why), { code: 'ERR_METHOD_NOT_SUPPORTED' })
  }

  #checkOpen(): void {
    if (this.#isClosed || this.#context.door.isEnded) throw this.#closedError()
  }

  #closedError(): Error {
    return Object.assign(new Error(`EBADF: the file is closed, '${this.path}'`), { code: 'EBADF', path: this.path })
  }

  #checkWritable(): void {
    this.#checkOpen()
    if (!this.writable)
      throw Object.assign(new Error(`EBADF: the file is open for reading only, '${this.path}'`), {
        code: 'EBADF',
        syscall: 'write',
        path: this.path,
      })
  }
}

function checkRange(buffer: Uint8Array, position: number, offset: number, length: number): void {
  checkNumbers(position, length)
  if (!(offset >= 0 && Number.isInteger(offset) && offset + length <= buffer.length))
    throw outOfRange(`offset ${offset} and length ${length} do not lie within a buffer of ${buffer.length} bytes`)
}

function checkNumbers(position: number, length: number): void {
  if (!(position >= 0 && Number.isSafeInteger(position))) throw outOfRange(`position ${position} is no place in a file`)
  if (!(length >= 0 && Number.isSafeInteger(length))) throw outOfRange(`length ${length} is no number of bytes`)
}

function outOfRange(message: string): RangeError {
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' })
}

/** Rejects as soon as the signal aborts; what `promise` does goes on. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
