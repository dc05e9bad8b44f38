/** The cache as its users see it: made on one thread, attached to by others. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { PAGE_BYTES } from '../cache/entry.ts'
import { WINDOW_MAX } from '../cache/readahead.ts'
import { parseBytes } from '../util/human.ts'
import { Arena } from './arena.ts'
import {
  checkAmount,
  checkBoolean,
  checkCount,
  checkFunction,
  checkIterable,
  checkOptions,
  outOfRange,
  wrongType,
  wrongValue,
} from './arguments.ts'
import type { MountFiles } from './attached/mount-files.ts'
import { CachedFile } from './cached-file.ts'
import type { DaxMode } from './direct-memory.ts'
import { goneError, notSupported } from './errors.ts'
import { contextOf } from './file-context.ts'
import { Keeping } from './keeping.ts'
import { MEMORY_MIN } from './memory-limit.ts'
import { type MergeOptions, mergeOptionsOf } from './merging.ts'
import { loadNative, type Native } from './native.ts'
import { nearOf } from './numa.ts'
import type { FileContext } from './open-file.ts'
import type {
  AttachOptions,
  MergeNowOptions,
  OpenOptions,
  PageCacheHandle,
  PageCacheOptions,
  PageCacheStats,
} from './page-cache-options.ts'
import { RemoteDoor } from './remote-door.ts'
import { checkSignal, throwIfAborted } from './signals.ts'

/**
 * A page cache in which files that share storage share memory.
 *
 *     await using cache = await PageCache.create({ memory: '512MiB' })
 *     await using file = await cache.open('clones/db-17.img')
 *     const count = await file.read(buffer, { position: 0 })
 *
 * Reads of what is in memory cost no system call, whichever thread makes them. The thread that made the cache reads what is missing and makes every change;
 * when it ends, the cache does.
 *
 * Errors have a `code`: `ERR_OUT_OF_RANGE` where a size makes no sense or too many threads are attached, `ERR_INVALID_STATE` where the cache is closed, `ERR_METHOD_NOT_SUPPORTED` where a
 * method belongs to the thread that made the cache, `ECONNRESET` where that thread has closed it, or ended. Those of the system are Node's: `code`, `syscall`, `path`.
 */
export class PageCache implements AsyncDisposable {
  readonly #context: FileContext
  readonly #keeper: Keeping | undefined
  #isClosed = false
  #closing: Promise<void> | undefined

  /** @internal */
  constructor(context: FileContext, keeper: Keeping | undefined) {
    this.#context = context
    this.#keeper = keeper
  }

  /**
   * Makes a cache. Its grants are its own: other processes, and mounts, know nothing of them. Rejects with a RangeError where the options make no sense, or with the system's error where there is
   * no memory.
   */
  static async create(options: PageCacheOptions): Promise<PageCache> {
    return await made(options, (bytes, native) => new Keeping(bytes, options, native))
  }

  /** Attaches this thread to a cache that another one made. Rejects with `ECONNRESET` where that has been closed. */
  static attach(handle: PageCacheHandle): Promise<PageCache>
  /**
   * Makes a cache that is a client of a Samepage mount: `mount` is its mountpoint, a path in it, or its socket. What is granted of its files is granted to one holder at a time in all of them: caches that
   * are attached, `samepage exclusive`, and whoever reads and writes through the mount. Files are opened by their paths in the mount, others are refused (`EXDEV`); `openSync` does not work.
   *
   * When the mount ends, what is cached is dropped, grants are abandoned (`publish` rejects with `ESTALE`), and all other calls reject with `ENOTCONN`: make a new cache. A cache that is attached keeps
   * the process alive until it is closed.
   *
   * Rejects as {@link PageCache.create}; with `ENOTCONN` where there is no such mount, or it gives no grants to this user, and with `ERR_METHOD_NOT_SUPPORTED` where there are no mounts.
   */
  static attach(mount: string, options: AttachOptions): Promise<PageCache>
  static async attach(to: PageCacheHandle | string, options?: AttachOptions): Promise<PageCache> {
    if (typeof to === 'string') return await attachToMount(to, options!)
    if (typeof to !== 'object' || to === null || to.arena === undefined || to.port === undefined)
      throw wrongType('what is attached to is a handle of a cache, or the path of a mount')
    return await attachToThread(to)
  }

  /**
   * Opens a regular file, for reading if nothing else is said. Resolves when it is known how the file shares memory. Rejects with the system's error, with `EISDIR` or `EINVAL` where it is no
   * regular file, or one whose size is 0 although it has bytes (in `/proc`), with `ENFILE` where more files are open than the cache has mappings for (some thousands), and with `EBUSY` where the file is open in another domain.
   */
  async open(path: string, flags: 'r' | 'r+' = 'r', options: OpenOptions = {}): Promise<CachedFile> {
    this.#checkOpen()
    const writable = isWritable(flags)
    const opened = await this.#context.door.open(path, writable, domainOf(options))
    return new CachedFile(this.#context, path, writable, opened)
  }

  /** The same at once, on the thread that made the cache (else `ERR_METHOD_NOT_SUPPORTED`). How the file shares memory is found out meanwhile. */
  openSync(path: string, flags: 'r' | 'r+' = 'r', options: OpenOptions = {}): CachedFile {
    this.#checkOpen()
    const { now } = this.#context.door
    if (now === undefined) throw notHere('openSync')
    const writable = isWritable(flags)
    return new CachedFile(this.#context, path, writable, now.openSync(path, writable, domainOf(options)))
  }

  /**
   * Loads all of the files, as far as there is room, and merges their pages with all equal ones that are looked after; whatever {@link MergeOptions.cpu} says, and also where the cache was made
   * without `merge`. Rejects with the system's error of a read, or with the signal's reason; what was merged by then stays so.
   */
  async merge(files: Iterable<CachedFile>, options: MergeNowOptions = {}): Promise<void> {
    this.#checkOpen()
    checkOptions(options)
    const { signal, onProgress } = options
    checkSignal(signal)
    checkFunction('onProgress', onProgress)
    checkIterable('files', files)
    const all = [...files]
    if (!all.every((file) => file instanceof CachedFile)) throw wrongType('what is merged are files of the cache')
    const totalBytes = all.reduce((sum, { size }) => sum + size, 0)
    let before = 0
    for (const file of all) {
      const { size } = file
      for (let page = 0; page * PAGE_BYTES < size; page += WINDOW_MAX) {
        // Others have their turn.
        await nextTurn()
        throwIfAborted(signal)
        const { bytesSaved } = await file.mergePages(page, WINDOW_MAX)
        onProgress?.({ bytes: before + Math.min(size, (page + WINDOW_MAX) * PAGE_BYTES), totalBytes, bytesSaved })
      }
      before += size
    }
  }

  /**
   * A handle for one other thread. On the thread that made the cache. Throws a RangeError where there are too many: each has a place among {@link PageCacheOptions.threads}, which is free again when the
   * thread that took the handle has ended. One that nobody takes has its place as long as the cache lives.
   */
  handle(): PageCacheHandle {
    this.#checkOpen()
    return this.#here('handle').attachOther(this.#context.isDebug)
  }

  /** Sets how much memory the cache may take; pages that are too many go at once, those that are being read when they have been. On the thread that made the cache. */
  resize(memory: number | string): void {
    this.#checkOpen()
    const bytes = typeof memory === 'number' ? memory : parseBytes(memory)
    const keeper = this.#here('resize')
    if (bytes === undefined || !(bytes >= MEMORY_MIN && bytes <= keeper.bytesMax))
      throw outOfRange(
        `memory: ${memory} is not between ${MEMORY_MIN} and ${keeper.bytesMax} bytes, what the cache was made with`,
      )
    keeper.resize(bytes)
  }

  /** What the cache holds and has done. On the thread that made it. */
  stats(): PageCacheStats {
    return this.#here('stats').stats()
  }

  /**
   * Ends the cache, or this thread's part in it. All files of this thread must be closed. On the thread that made it: whatever all others call from then on fails with `ECONNRESET`, and views
   * that are still there show zeros. On another thread: its views must be disposed, they may show other pages from then on.
   * A second call waits for the first.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close().finally(() => {
      this.#closing = undefined
    })
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#keeper !== undefined) await this.#keeper.close()
    else {
      this.#context.pins.end()
      ;(this.#context.door as RemoteDoor).disconnect()
    }
  }

  /** {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal Throws where a structure of the cache does not hold together. For tests. */
  checkInvariants(): void {
    this.#here('checkInvariants').checkInvariants()
  }

  /** @internal Shows all entries. For tests. */
  eachEntry(visit: (mapping: number, page: number, word: number, generation: number) => void): void {
    this.#here('eachEntry').pages.each(visit)
  }

  #here(method: string): Keeping {
    if (this.#keeper === undefined) throw notHere(method)
    return this.#keeper
  }

  #checkOpen(): void {
    if (this.#isClosed) throw Object.assign(new Error('the cache is closed'), { code: 'ERR_INVALID_STATE' })
  }
}

async function made(
  options: PageCacheOptions,
  make: (bytes: number, native: Native | undefined) => Keeping,
): Promise<PageCache> {
  checkOptions(options)
  const bytes = typeof options.memory === 'number' ? options.memory : parseBytes(options.memory)
  if (bytes === undefined || !(bytes >= MEMORY_MIN) || !Number.isFinite(bytes))
    throw outOfRange(
      `memory: ${options.memory} is less than ${MEMORY_MIN} bytes, or no size; write 512MiB, or a number of bytes`,
    )
  const merge = mergeOptionsOf(options.merge)
  checkDax(options.dax)
  checkCount('threads', options.threads, 1)
  checkCount('pinsPerThread', options.pinsPerThread, 0)
  checkAmount('minShareBytes', options.minShareBytes)
  for (const name of ['direct', 'share', 'yieldUnderPressure', 'debug'] as const) checkBoolean(name, options[name])
  const { grants = {} } = options
  checkOptions(grants)
  const { waitMs, holdMs, revokeMs } = grants
  for (const [name, ms] of Object.entries({ waitMs, holdMs, revokeMs })) checkAmount(`grants.${name}`, ms)
  const keeping = make(bytes, await loadNative())
  if (merge !== undefined) await keeping.files.beginMerging(merge)
  return new PageCache(keeping.attachOwn(options.debug === true), keeping)
}

async function attachToThread(handle: PageCacheHandle): Promise<PageCache> {
  const native = handle.arena.kind === 'mapped' ? await loadNative() : undefined
  const near = nearOf(handle.near?.plan, native?.numa)
  const door = new RemoteDoor(handle.port, near)
  const arena = Arena.attach(handle.arena, native)
  const nearness = { handle: handle.near, near }
  const context = contextOf(handle.memory, arena, native, handle.thread, door, handle.isDebug, nearness)
  if (door.ended !== undefined || context.reader.lookup.isClosed) {
    door.disconnect()
    throw goneError()
  }
  return new PageCache(context, undefined)
}

async function attachToMount(at: string, options: AttachOptions): Promise<PageCache> {
  checkOptions(options)
  if ((await loadNative()) === undefined)
    throw notSupported('attach', 'here: there are mounts on Linux only, with koffi')
  const { AttachedMount, reachMount } = await import('./attached/attached-mount.ts')
  let mount: MountFiles | undefined
  const reached = await reachMount(at)
  try {
    // None of that has to be found out here: the mount's daemon shares storage, keeps out of the kernel's cache, and reads what lies on a device.
    const own: PageCacheOptions = { ...options, share: false, direct: false, dax: 'cache' }
    return await made(own, (bytes, native) => {
      return new Keeping(bytes, own, native, (table, files) => (mount = new AttachedMount(reached, table, files)))
    })
  } catch (error) {
    if (mount === undefined) reached.close()
    else mount.close()
    throw error
  }
}

function isWritable(flags: string): boolean {
  if (flags === 'r') return false
  if (flags === 'r+') return true
  throw wrongValue(`flags are 'r' or 'r+', not '${flags}'`)
}

function domainOf(options: OpenOptions): number {
  checkOptions(options)
  const { domain = 0 } = options
  if (Number.isInteger(domain) && domain >= 0 && domain < 2 ** 31) return domain
  throw outOfRange(`domain: ${domain} is no integer from 0 on, below 2^31`)
}

function notHere(method: string): Error {
  return Object.assign(new Error(`${method} works on the thread that made the cache only`), {
    code: 'ERR_METHOD_NOT_SUPPORTED',
  })
}

function checkDax(mode: DaxMode | undefined): void {
  if (mode === undefined || ['auto', 'direct', 'cache'].includes(mode)) return
  throw wrongValue(`dax is 'auto', 'direct' or 'cache', not '${mode}'`)
}
