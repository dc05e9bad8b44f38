/** An open file of a cache. */
import type fs from 'node:fs'
import { Readable } from 'node:stream'
import { PAGE_BYTES } from '../cache/entry.ts'
import { ADVICE } from '../cache/readahead.ts'
import {
  checkAmountGiven,
  checkBytes,
  checkCount,
  checkIterable,
  checkNumbers,
  checkOptions,
  checkRange,
  lengthFrom,
  outOfRange,
  wrongValue,
} from './arguments.ts'
import type { OpenedFile } from './door.ts'
import { systemError, withPath } from './errors.ts'
import type { ExclusiveGrant, ExclusiveOptions } from './grants/exclusive-grant.ts'
import type { MergeStats } from './merging.ts'
import { type FileContext, OpenFile, TRIES_MAX } from './open-file.ts'
import { canBeHeard, checkSignal, throwIfAborted, unlessAborted } from './signals.ts'
import { View } from './view.ts'
import { copiedView, mayFit, viewPage, viewPages } from './views.ts'

/** Where a read begins and what it may fill: as for `fs.read`, all in bytes. */
export interface ReadOptions {
  /** In the file. */
  readonly position: number
  /** In the buffer; 0 if not given. */
  readonly offset?: number | undefined
  /** At most so many bytes; to the buffer's end if not given. */
  readonly length?: number | undefined
}

/** Which bytes are written where: as for `fs.write`, all in bytes. */
export interface WriteOptions {
  /** In the file. */
  readonly position: number
  /** In what is given; 0 if not given. */
  readonly offset?: number | undefined
  /** To the end of what is given, if not given. */
  readonly length?: number | undefined
}

/** Of calls that return a promise. */
export interface AsyncOptions {
  /** Gives the call up: it rejects with the signal's reason. What is being read meanwhile goes on to its end, and is cached. */
  readonly signal?: AbortSignal | undefined
}

/** Of calls that others' grants may keep waiting, see {@link CachedFile.exclusive}. */
export interface WaitOptions {
  /** False: rejects with `EAGAIN` where it would have to wait for a grant. Default true: `ETIMEDOUT` after {@link GrantOptions.waitMs}. */
  readonly wait?: boolean | undefined
}

/** What a stream gives, in bytes: as for `fs.createReadStream`. */
export interface StreamOptions extends AsyncOptions {
  /** The first byte; 0 if not given. */
  readonly start?: number | undefined
  /** The last byte, inclusive, as `fs.createReadStream` has it. */
  readonly end?: number | undefined
  /** Bytes that the stream holds ready, and that one chunk has at most. Default 64 KiB. */
  readonly highWaterMark?: number | undefined
  /** Chunks are strings then. */
  readonly encoding?: BufferEncoding | undefined
}

/** What is to come: for {@link CachedFile.advise}. */
export type FileAdvice = 'normal' | 'sequential' | 'random' | 'willneed' | 'dontneed'

const STREAM_BYTES = 64 * 1024

/**
 * A file that is read through the cache, and written through it to where it lies. Made by {@link PageCache.open}.
 *
 * **Hits** (`tryRead`, `readSync`, `viewSync` of what is in memory) cost no system call and wait for no other thread. **Misses** are read from the file by the thread that made the
 * cache; a `…Sync` method on another thread does not wait for that one, but reads past the cache.
 *
 * Errors are Node's: `code`, `syscall`, `path`. Besides those of the system each method can throw (or reject with) `EBADF`, where the file is closed or is not open for writing;
 * `ERR_OUT_OF_RANGE`, a RangeError, where a position or a length makes no sense; `ERR_INVALID_ARG_TYPE`, a TypeError, where bytes are given as something else than a Uint8Array, or options, a signal, or a number as something else than they are; `ERR_METHOD_NOT_SUPPORTED` and `ECONNRESET` as it says at the method, or in {@link PageCache}.
 *
 * Context: the thread that opened it.
 */
export class CachedFile implements AsyncDisposable, Disposable {
  /** As it was given to `open`. */
  readonly path: string
  /** Whether it was opened with `r+`. */
  readonly writable: boolean
  readonly #file: OpenFile
  #isClosed = false
  #closing: Promise<void> | undefined

  /** @internal */
  constructor(context: FileContext, path: string, writable: boolean, opened: OpenedFile) {
    this.path = path
    this.writable = writable
    this.#file = new OpenFile(context, path, opened)
  }

  /** The size in bytes, as this cache knows it. */
  get size(): number {
    return this.#file.context.reader.lookup.sizeOf(this.#file.layout.mapping)
  }

  /** As `fs.fstat`, of the file as it is now. */
  statSync(): fs.Stats {
    this.#checkOpen('fstat')
    return this.#file.statSync()
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
    checkBytes(buffer)
    checkOptions(options)
    const { position, offset = 0, length = lengthFrom(buffer.length, offset) } = options
    checkRange(buffer.length, position, offset, length)
    const count = this.#clip(position, length)
    return this.#file.copy(buffer, offset, count, position) === count ? count : undefined
  }

  /** Reads, as `fs.readSync`: the bytes read, 0 at the file's end. Blocks on a miss; on another thread than the one that made the cache it reads past the cache then. */
  readSync(buffer: Uint8Array, options: ReadOptions): number {
    this.#checkOpen()
    checkBytes(buffer)
    checkOptions(options)
    const { position, offset = 0, length = lengthFrom(buffer.length, offset) } = options
    checkRange(buffer.length, position, offset, length)
    const count = this.#clip(position, length)
    const done = this.#file.copy(buffer, offset, count, position)
    return done === count ? count : this.#file.readMissing(buffer, offset, count, position, done)
  }

  /** Reads, as `fs.promises` does: resolves with the bytes read, 0 at the file's end. */
  async read(buffer: Uint8Array, options: ReadOptions & AsyncOptions & WaitOptions): Promise<number> {
    this.#checkOpen()
    checkBytes(buffer)
    checkOptions(options)
    const { position, offset = 0, length = lengthFrom(buffer.length, offset), signal, wait = true } = options
    checkRange(buffer.length, position, offset, length)
    checkSignal(signal)
    for (let tries = 0, done = 0, isFirst = true; ; tries++) {
      // Between two windows nobody hears it.
      throwIfAborted(signal)
      const count = this.#clip(position, length)
      const before = done
      done += this.#file.copy(buffer, offset + done, count - done, position + done)
      if (done >= count) {
        this.#file.readAhead(position, count)
        return count
      }
      if (done > before) tries = 0
      if (tries >= TRIES_MAX || this.#file.isPast(position + done))
        try {
          return this.#file.readPast(buffer, offset, length, position)
        } catch (error) {
          if (!wait || !isGranted(error)) throw error
        }
      const load = this.#file.loadWindow(position + done, count - done, isFirst, wait, signal)
      isFirst = false
      const bytes = await unlessAborted(load, signal)
      this.#checkOpen()
      if (bytes === undefined) continue
      buffer.set(bytes, offset + done)
      if (bytes.length === 0) return done
      done += bytes.length
      tries = 0
    }
  }

  /** Reads into several buffers, as `fs.readv`. */
  async readv(buffers: readonly Uint8Array[], position: number, options: AsyncOptions = {}): Promise<number> {
    const all = this.#list(buffers, position)
    checkOptions(options)
    checkSignal(options.signal)
    let done = 0
    for (const buffer of all) {
      const count = await this.read(buffer, { ...options, position: position + done })
      done += count
      if (count < buffer.length) break
    }
    return done
  }

  /** The same; blocks on a miss. */
  readvSync(buffers: readonly Uint8Array[], position: number): number {
    let done = 0
    for (const buffer of this.#list(buffers, position)) {
      const count = this.readSync(buffer, { position: position + done })
      done += count
      if (count < buffer.length) break
    }
    return done
  }

  /**
   * Bytes of the file where they lie in memory; fewer than `length` at the file's end. Loads what is missing. Where there is no room for all of it at once, or this thread has too few pins left, they
   * are a copy as {@link read} makes it: see {@link View.isPinned}.
   */
  async view(position: number, length: number, options: AsyncOptions & WaitOptions = {}): Promise<View> {
    this.#checkOpen()
    checkNumbers(position, length)
    checkOptions(options)
    const { signal, wait = true } = options
    checkSignal(signal)
    throwIfAborted(signal)
    const hit = viewPage(this.#file, position, length)
    if (hit !== undefined) return hit
    for (let tries = 0, most = -1; tries < TRIES_MAX; tries++) {
      throwIfAborted(signal)
      const view = viewPages(this.#file, position, length)
      if (view instanceof View) return view
      if (view === undefined || !mayFit(this.#file, position, length)) break
      const load = this.#file.loadWindow(position + view, length - view, most < 0, wait, signal)
      if (view > most) [tries, most] = [0, view]
      const bytes = await unlessAborted(load, signal)
      this.#checkOpen()
      if (bytes === undefined) continue
      // They had to be waited for, and the next one may have them by now.
      if (view === 0 && bytes.length === this.#clip(position, length)) return copiedView(this.#file, bytes)
      break
    }
    const copy = new Uint8Array(this.#clip(position, length))
    return copiedView(this.#file, copy.subarray(0, await this.read(copy, { position, signal, wait })))
  }

  /** The same; blocks on a miss. On another thread than the one that made the cache, that of which anything is missing is a copy from the file. */
  viewSync(position: number, length: number): View {
    this.#checkOpen()
    checkNumbers(position, length)
    const hit = viewPage(this.#file, position, length)
    if (hit !== undefined) return hit
    const { now } = this.#file.context.door
    for (let tries = 0, most = -1; tries < TRIES_MAX; tries++) {
      const view = viewPages(this.#file, position, length)
      if (view instanceof View) return view
      if (view === undefined || now === undefined || !mayFit(this.#file, position, length)) break
      this.#file.loadWindowSync(position + view, length - view, most < 0)
      if (view > most) [tries, most] = [0, view]
    }
    const copy = new Uint8Array(this.#clip(position, length))
    return copiedView(this.#file, copy.subarray(0, this.readSync(copy, { position })))
  }

  /** A stream of the file's bytes. Throws `ERR_UNKNOWN_ENCODING` where there is no such one, `ERR_OUT_OF_RANGE` where `start` or `end` are no places in a file, or in the wrong order, or a chunk could have no bytes. */
  createReadStream(options: StreamOptions = {}): Readable {
    this.#checkOpen()
    checkOptions(options)
    const { start = 0, end = Number.POSITIVE_INFINITY, highWaterMark = STREAM_BYTES, encoding, signal } = options
    checkCount('start', start, 0)
    if (end !== Number.POSITIVE_INFINITY) checkCount('end', end, 0)
    // Node.js asks for so many bytes at a time, and none are the end.
    checkCount('highWaterMark', highWaterMark, 1)
    checkSignal(signal)
    if (start > end) throw outOfRange(`start: ${start} is behind the end, ${end}`)
    let position = start
    const read = async (stream: Readable, size: number): Promise<void> => {
      try {
        const buffer = Buffer.allocUnsafe(Math.min(size, end + 1 - position))
        const count = buffer.length === 0 ? 0 : await this.read(buffer, { position, signal })
        position += count
        stream.push(count === 0 ? null : buffer.subarray(0, count))
      } catch (error) {
        stream.destroy(error as Error)
      }
    }
    return new Readable({
      highWaterMark,
      ...(encoding !== undefined && { encoding }),
      ...(signal !== undefined && canBeHeard(signal) && { signal }),
      read(size) {
        void read(this, size)
      },
    })
  }

  /**
   * Writes `bytes` to the file, all of them or those that the options name, then resolves: other programs see them, and so does everybody who reads through the cache. They are on the disk after
   * {@link sync}.
   */
  async write(bytes: Uint8Array, options: WriteOptions & WaitOptions): Promise<void> {
    const wanted = this.#wanted(bytes, options)
    if (wanted.length > 0)
      await this.#named(this.#file.context.door.write(this.#file.id, wanted, options.position, options.wait ?? true))
  }

  /** The same, blocking. Throws `ERR_METHOD_NOT_SUPPORTED` on another thread than the one that made the cache, which alone may write. */
  writeSync(bytes: Uint8Array, options: WriteOptions): void {
    const wanted = this.#wanted(bytes, options)
    if (wanted.length > 0) this.#file.now('writeSync').writeSync(this.#file.id, wanted, options.position)
  }

  /** Sets the file's length in bytes. */
  async truncate(length = 0): Promise<void> {
    this.#checkWritable('ftruncate')
    checkNumbers(0, length)
    await this.#named(this.#file.context.door.truncate(this.#file.id, length))
  }

  /** The same, blocking; see {@link writeSync}. */
  truncateSync(length = 0): void {
    this.#checkWritable('ftruncate')
    checkNumbers(0, length)
    this.#file.now('truncateSync').truncateSync(this.#file.id, length)
  }

  /**
   * Asks for a range to have alone, of a file open with `r+`: resolves with a private copy of its bytes, to be changed and published. Meanwhile whoever reads or writes pages of it through this cache
   * waits, in the order in which they came, also those who want it next; `…Sync` methods never wait for a holder but throw `EAGAIN`, `tryRead` returns undefined. With `readers: 'last-published'`
   * only writers wait, and readers get what was published last, until the publish is complete.
   *
   * The bytes are exactly those asked for; what is kept from others are the pages that they touch. Pages shared with clones are the file's own from then on: clones go on
   * reading what they had. Views made before go on showing it, too.
   *
   * Rejects with `EINVAL` where the range is empty or does not lie within the file (a grant changes bytes, never the length), `EFBIG` where it does not lie in its first 8 TiB less 4 KiB, `EAGAIN` and `ETIMEDOUT` as {@link ExclusiveOptions} has it, `EDEADLK`
   * where those who have it wait for this holder, `ENOMEM` where the cache has no room for the entries, and with the signal's reason. Other processes know nothing of all this.
   */
  async exclusive(options: ExclusiveOptions = {}): Promise<ExclusiveGrant> {
    this.#checkWritable('exclusive')
    checkOptions(options)
    const { position = 0, length = Math.max(0, lengthFrom(this.size, position)) } = options
    checkNumbers(position, length)
    checkSignal(options.signal)
    return this.#file.context.holder.request(this.#file.id, this.path, { ...options, position, length })
  }

  /** Asks whoever has pages of the range exclusively to give them up, and takes them after `deadlineMs` milliseconds. Resolves with the number of grants asked. */
  async revoke(options: {
    readonly position: number
    readonly length: number
    readonly deadlineMs: number
  }): Promise<number> {
    this.#checkWritable('revoke')
    checkOptions(options)
    const { position, length, deadlineMs } = options
    checkNumbers(position, length)
    checkAmountGiven('deadlineMs', deadlineMs)
    return this.#named(this.#file.context.door.revoke(this.#file.id, position, length, deadlineMs))
  }

  /** As `fs.fsync`: what was written is on the disk when this resolves. */
  async sync(): Promise<void> {
    this.#checkOpen('fsync')
    await this.#named(this.#file.context.door.sync(this.#file.id, false))
  }

  /** The same, blocking; see {@link writeSync}. */
  syncSync(): void {
    this.#checkOpen('fsync')
    this.#file.now('syncSync').syncSync(this.#file.id, false)
  }

  /** As `fs.fdatasync`. */
  async datasync(): Promise<void> {
    this.#checkOpen('fdatasync')
    await this.#named(this.#file.context.door.sync(this.#file.id, true))
  }

  /** The same, blocking; see {@link writeSync}. */
  datasyncSync(): void {
    this.#checkOpen('fdatasync')
    this.#file.now('datasyncSync').syncSync(this.#file.id, true)
  }

  /**
   * Says what is to come, as posix_fadvise(2). `willneed` resolves when the range is loaded, from its beginning on as far as there is room: neither what is used more nor
   * what it has loaded itself goes for it; `dontneed` forgets what is cached of the file alone, a home's
   * pages stay. `sequential`, `random` and `normal` are about all reads through this open file.
   */
  async advise(advice: FileAdvice, position = 0, length = lengthFrom(this.size, position)): Promise<void> {
    this.#checkOpen()
    const bytes = typeof length === 'number' ? Math.max(0, length) : length
    checkNumbers(position, bytes)
    const first = Math.floor(position / PAGE_BYTES)
    const count = Math.ceil((position + bytes) / PAGE_BYTES) - first
    switch (advice) {
      case 'willneed':
        // Wanted by nobody yet: what cannot be read now tells whoever asks for it.
        await this.#file.context.door.load(this.#file.id, first, count, 0, false)
        return
      case 'dontneed':
        return this.#named(this.#file.context.door.forget(this.#file.id, first, count))
      case 'sequential':
        this.#file.readahead.advice = ADVICE.SEQUENTIAL
        return
      case 'random':
        this.#file.readahead.advice = ADVICE.RANDOM
        return
      case 'normal':
        this.#file.readahead.advice = ADVICE.NORMAL
        return
      default:
        throw wrongValue(`there is no advice ${String(advice)}`)
    }
  }

  /** @internal One step of {@link PageCache.merge}. */
  mergePages(page: number, count: number): Promise<MergeStats> {
    this.#checkOpen()
    return this.#file.context.door.merge(this.#file.id, page, count)
  }

  /** Closes the file. Its pages stay cached, as long as it is among the 8,192 files that were closed last (of those that share memory with others the 1,024). Views stay what they are until they are disposed. A second call waits for the first; after the cache's end it has been closed already. */
  close(): Promise<void> {
    this.#closing ??= this.#close().finally(() => {
      this.#closing = undefined
    })
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#file.context.door.close(this.#file.id)
  }

  /** The same at once; on another thread than the one that made the cache that one closes it when it comes to it. */
  closeSync(): void {
    const { now } = this.#file.context.door
    if (now === undefined) {
      this.close().catch(() => {})
      return
    }
    if (this.#isClosed) return
    this.#isClosed = true
    now.closeSync(this.#file.id)
  }

  /** {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** {@link closeSync}, for `using`. */
  [Symbol.dispose](): void {
    this.closeSync()
  }

  /** The errors of another thread do not know it by the path that was given here. */
  #named<T>(promise: Promise<T>): Promise<T> {
    return promise.catch((error: unknown) => {
      throw withPath(error, this.path)
    })
  }

  /** How many bytes there are of so many at `position`. */
  #clip(position: number, length: number): number {
    return this.#file.context.reader.clip(this.#file.layout, position, length)
  }

  #checkOpen(syscall = 'read'): void {
    if (this.#isClosed) throw this.#file.closedError(syscall)
    if (this.#file.context.door.ended !== undefined) throw this.#file.endedError(syscall)
  }

  /** The buffers of a readv: all are looked at before the first is filled, and nobody adds to them meanwhile. */
  #list(buffers: readonly Uint8Array[], position: number): readonly Uint8Array[] {
    this.#checkOpen()
    checkIterable('buffers', buffers)
    checkNumbers(position, 0)
    const list = [...buffers]
    list.forEach(checkBytes)
    return list
  }

  /** What is to be written of `bytes`. */
  #wanted(bytes: Uint8Array, options: WriteOptions): Uint8Array {
    this.#checkWritable('write')
    checkBytes(bytes)
    checkOptions(options)
    const { position, offset = 0, length = lengthFrom(bytes.length, offset) } = options
    checkRange(bytes.length, position, offset, length)
    return length === bytes.length ? bytes : bytes.subarray(offset, offset + length)
  }

  #checkWritable(syscall: string): void {
    this.#checkOpen(syscall)
    if (!this.writable) throw systemError('EBADF', 'the file is open for reading only', syscall, this.path)
  }
}

/** A read past the cache was refused: the pages are exclusively somebody's. */
function isGranted(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN'
}
