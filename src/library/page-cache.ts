/** The cache as its users see it: made on one thread, attached to by others. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { MessagePort } from 'node:worker_threads'
import { PAGE_BYTES } from '../cache/entry.ts'
import type { CacheMemory } from '../cache/memory.ts'
import { WINDOW_MAX } from '../cache/readahead.ts'
import { parseBytes } from '../util/human.ts'
import { Arena, type ArenaHandle } from './arena.ts'
import { outOfRange } from './arguments.ts'
import type { MountFiles } from './attached/mount-files.ts'
import { type AsyncOptions, CachedFile } from './cached-file.ts'
import { notSupported } from './errors.ts'
import { contextOf } from './file-context.ts'
import { Keeping, MEMORY_MIN } from './keeping.ts'
import { type MergeOptions, type MergeProgress, type MergeStats, mergeOptionsOf } from './merging.ts'
import { loadNative } from './native.ts'
import type { NearHandle, NumaStats } from './near-memory.ts'
import { type NumaMode, nearOf } from './numa.ts'
import type { FileContext } from './open-file.ts'
import { RemoteDoor } from './remote-door.ts'

/** Of {@link PageCache.create}. */
export interface PageCacheOptions {
  /** What pages and their indexes may take, in bytes or as `512MiB`. Never exceeded. */
  readonly memory: number | string
  /** Read past the kernel's own cache where the file system can, so that no page is in memory twice. Default true. */
  readonly direct?: boolean
  /** Let files that share storage share memory, where the file system tells (XFS, btrfs; Linux). Default true. */
  readonly share?: boolean
  /**
   * Let pages with equal bytes share memory, whatever files and file systems they are of, and whatever `share` says: `'content'`, or how. Default false: that takes time for each page that is
   * read, see {@link MergeOptions.cpu}.
   */
  readonly merge?: false | 'content' | MergeOptions
  /** Fewer shared bytes than this in a file are not worth sharing. Default 256 KiB. */
  readonly minShareBytes?: number
  /**
   * Near memory, on a machine of several NUMA nodes: pages are loaded into memory of the node from which they are asked for. `replicate`: clean pages that are read often
   * from another node get a replica there. `inode`: each node has pages of its own for each file. On a machine of one node nothing of it is there.
   * Default `off`.
   */
  readonly numa?: NumaMode
  /** Shrink while the system, or the cgroup, is short of memory, and grow back afterwards. Default true. */
  readonly yieldUnderPressure?: boolean
  /** Views are copies, which are taken away when they are disposed: for finding who keeps them. Slow. Default false. */
  readonly debug?: boolean
  /** Threads that can be attached at once, this one included. Default 64. */
  readonly threads?: number
  /** Pages that the views of one thread can pin at once; views beyond are copies. Default 4096. */
  readonly pinsPerThread?: number
  /** How long anybody waits for ranges that are exclusively somebody's. */
  readonly grants?: GrantOptions
}

/**
 * Of {@link PageCache.attach} to a mount. Files share memory by content there ({@link PageCacheOptions.merge}); by storage the mount does it. Of {@link GrantOptions} only `waitMs` counts: the mount
 * asks holders to give up when somebody revokes, never by itself.
 */
export type AttachOptions = Omit<PageCacheOptions, 'direct' | 'share' | 'minShareBytes'>

/** See {@link CachedFile.exclusive}. All in milliseconds. */
export interface GrantOptions {
  /** Reads and writes wait for so long, then they reject with `ETIMEDOUT`. Default 30,000. */
  readonly waitMs?: number
  /** A holder for whom others wait is asked to give up after so long. Default 10,000. */
  readonly holdMs?: number
  /** Then its grant is taken after so long. Default 5,000. */
  readonly revokeMs?: number
}

/** Of {@link PageCache.open}. */
export interface OpenOptions {
  /**
   * A number, 0 or more, for whom the file belongs to: files of different domains share no memory, neither by address nor by content. A file is of one domain at a time. Default 0.
   */
  readonly domain?: number
}

/** Of {@link PageCache.merge}. */
export interface MergeNowOptions extends AsyncOptions {
  /** Called after each step, of up to 1 MiB. */
  readonly onProgress?: (progress: MergeProgress) => void
}

/** What {@link PageCache.stats} tells. Counts are since the cache was made. */
export interface PageCacheStats {
  /** How the arena is held: `memfd`, or `buffer` where system calls are missing. */
  readonly arena: 'memfd' | 'buffer'
  /** Whether files that share storage can share memory here. */
  readonly shares: boolean
  /**
   * Who decides on grants ({@link CachedFile.exclusive}): this cache, and then nobody else knows of them; the mount that it is attached to, and they hold for all who use that; or nobody, for that mount
   * has ended.
   */
  readonly grantedBy: 'cache' | 'mount' | 'nobody'
  /** Bytes that pages and their indexes may take now: less than was asked for under memory pressure. */
  readonly memoryMax: number
  /** Bytes of cached pages. */
  readonly pageBytes: number
  /** Bytes of indexes. */
  readonly indexBytes: number
  /** With {@link PageCacheOptions.numa}, on a machine of several nodes. */
  readonly numa?: NumaStats
  /** Bytes of pages that have been evicted while somebody had them pinned. */
  readonly limboBytes: number
  /** Open files, of all threads; each {@link PageCache.open} counts. */
  readonly filesOpen: number
  /** Threads that are attached, the one that made the cache included. */
  readonly threads: number
  /** Bytes read from files and homes into the cache. */
  readonly bytesLoaded: number
  /** System calls that read them. */
  readonly reads: number
  /** Pages that had to go to make room. */
  readonly evicted: number
  /** Loads of pages that had been evicted not long before: many say that memory is short. */
  readonly refaults: number
  /** Homes: hidden clones that own the pages which files share. */
  readonly homes: number
  /** Bytes of files that lie in homes: what would be held if nothing were shared and all of it were read. */
  readonly sharedBytes: number
  /** What merging has done; undefined where nothing is merged. */
  readonly merge: MergeStats | undefined
}

/** What another thread needs to attach: send it with `postMessage(handle, handle.transferList)`, or as `workerData`. For one thread, once. */
export interface PageCacheHandle {
  /** @internal */
  readonly memory: CacheMemory
  /** @internal */
  readonly arena: ArenaHandle
  /** @internal */
  readonly near: NearHandle | undefined
  /** @internal */
  readonly thread: number
  /** @internal */
  readonly port: MessagePort
  /** @internal */
  readonly isDebug: boolean
  /** What must be moved to the other thread, not copied: the `transferList` of `postMessage`, or of the worker. */
  readonly transferList: readonly [MessagePort]
}

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

  /** Attaches this thread to a cache that another one made. */
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
    return typeof to === 'string' ? await attachToMount(to, options!) : await attachToThread(to)
  }

  /**
   * Opens a regular file, for reading if nothing else is said. Resolves when it is known how the file shares memory. Rejects with the system's error, with `EISDIR` or `EINVAL` where it is no
   * regular file, with `ENFILE` where more files are open than the cache has mappings for (some thousands), and with `EBUSY` where the file is open in another domain.
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
  async merge(files: Iterable<CachedFile>, { signal, onProgress }: MergeNowOptions = {}): Promise<void> {
    this.#checkOpen()
    const all = [...files]
    const totalBytes = all.reduce((sum, { size }) => sum + size, 0)
    let before = 0
    for (const file of all) {
      const { size } = file
      for (let page = 0; page * PAGE_BYTES < size; page += WINDOW_MAX) {
        // Others have their turn.
        await nextTurn()
        signal?.throwIfAborted()
        const { bytesSaved } = await file.mergePages(page, WINDOW_MAX)
        onProgress?.({ bytes: before + Math.min(size, (page + WINDOW_MAX) * PAGE_BYTES), totalBytes, bytesSaved })
      }
      before += size
    }
  }

  /** A handle for one other thread. On the thread that made the cache. Throws a RangeError where there are too many. */
  handle(): PageCacheHandle {
    this.#checkOpen()
    return this.#here('handle').attachOther(this.#context.isDebug)
  }

  /** Sets how much memory the cache may take; pages that are too many go at once. On the thread that made the cache. */
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
   * Ends the cache, or this thread's part in it. All files of this thread must be closed. On the thread that made it: the promises of all others
   * reject with `ECONNRESET` from then on, and their `…Sync` reads go past the cache; views that are still there show zeros.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#keeper !== undefined) await this.#keeper.close()
    else (this.#context.door as RemoteDoor).disconnect()
  }

  /** {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal Throws where a structure of the cache does not hold together. For tests. */
  checkInvariants(): void {
    this.#here('checkInvariants').checkInvariants()
  }

  #here(method: string): Keeping {
    if (this.#keeper === undefined) throw notHere(method)
    return this.#keeper
  }

  #checkOpen(): void {
    if (this.#isClosed) throw Object.assign(new Error('the cache is closed'), { code: 'ERR_INVALID_STATE' })
  }
}

type Native = Awaited<ReturnType<typeof loadNative>>

async function made(options: PageCacheOptions, make: (bytes: number, native: Native) => Keeping): Promise<PageCache> {
  const bytes = typeof options.memory === 'number' ? options.memory : parseBytes(options.memory)
  if (bytes === undefined || !(bytes >= MEMORY_MIN) || !Number.isFinite(bytes))
    throw outOfRange(
      `memory: ${options.memory} is less than ${MEMORY_MIN} bytes, or no size; write 512MiB, or a number of bytes`,
    )
  const merge = mergeOptionsOf(options.merge)
  const keeping = make(bytes, await loadNative())
  if (merge !== undefined) await keeping.files.beginMerging(merge)
  return new PageCache(keeping.attachOwn(options.debug === true), keeping)
}

async function attachToThread(handle: PageCacheHandle): Promise<PageCache> {
  const native = handle.arena.kind === 'memfd' ? await loadNative() : undefined
  const near = nearOf(handle.near?.plan, native?.numa)
  const door = new RemoteDoor(handle.port, near)
  const arena = Arena.attach(handle.arena, native)
  const nearness = { handle: handle.near, near }
  return new PageCache(contextOf(handle.memory, arena, handle.thread, door, handle.isDebug, nearness), undefined)
}

async function attachToMount(at: string, options: AttachOptions): Promise<PageCache> {
  if ((await loadNative()) === undefined)
    throw notSupported('attach', 'here: there are mounts on Linux only, with koffi')
  const { AttachedMount } = await import('./attached/attached-mount.ts')
  let mount: MountFiles | undefined
  try {
    // Neither has to be found out here: the mount's daemon shares storage, and keeps out of the kernel's cache.
    const own = { ...options, share: false, direct: false }
    return await made(own, (bytes, native) => {
      return new Keeping(bytes, own, native, (table, files) => (mount = new AttachedMount(at, table, files)))
    })
  } catch (error) {
    mount?.close()
    throw error
  }
}

function isWritable(flags: string): boolean {
  if (flags === 'r') return false
  if (flags === 'r+') return true
  throw Object.assign(new TypeError(`flags are 'r' or 'r+', not '${flags}'`), { code: 'ERR_INVALID_ARG_VALUE' })
}

function domainOf({ domain = 0 }: OpenOptions): number {
  if (Number.isInteger(domain) && domain >= 0 && domain < 2 ** 31) return domain
  throw outOfRange(`domain: ${domain} is no integer from 0 on, below 2^31`)
}

function notHere(method: string): Error {
  return Object.assign(new Error(`${method} works on the thread that made the cache only`), {
    code: 'ERR_METHOD_NOT_SUPPORTED',
  })
}
