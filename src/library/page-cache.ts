/** The cache as its users see it: made on one thread, attached to by others. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { PAGE_BYTES } from '../cache/entry.ts'
import { ExclusionReader } from '../cache/grants/exclusion.ts'
import type { Timers } from '../cache/grants/grant-authority.ts'
import { GrantTable } from '../cache/grants/grant-table.ts'
import { Lookup } from '../cache/lookup.ts'
import { allocateMemory, type CacheMemory } from '../cache/memory.ts'
import { PageKeeper } from '../cache/page-keeper.ts'
import { Pins } from '../cache/pins.ts'
import { WINDOW_MAX } from '../cache/readahead.ts'
import type { Ages } from '../cache/reclaim/policy.ts'
import { ReuseClock } from '../cache/reclaim/reuse-clock.ts'
import { Shortcuts } from '../cache/shared-entries.ts'
import { parseBytes } from '../util/human.ts'
import { Arena } from './arena.ts'
import { outOfRange } from './arguments.ts'
import { CachedFile } from './cached-file.ts'
import { type DaxMode, DirectMemory } from './direct-memory.ts'
import { DirectReader } from './direct-reader.ts'
import type { Door } from './door.ts'
import { FileKeeper } from './file-keeper.ts'
import { Holder } from './grants/holder.ts'
import { HomeSources } from './home-sources.ts'
import { mergeOptionsOf } from './merging.ts'
import { loadNative, type Native } from './native.ts'
import { type NearHandle, NearMemory } from './near-memory.ts'
import { NearReader } from './near-reader.ts'
import { nearOf } from './numa.ts'
import type { FileContext } from './open-file.ts'
import { OwnDoor } from './own-door.ts'
import type {
  GrantOptions,
  MergeNowOptions,
  OpenOptions,
  PageCacheHandle,
  PageCacheOptions,
  PageCacheStats,
} from './page-cache-options.ts'
import { NEEDS_FENCE, PageReader } from './page-reader.ts'
import { watchPressure } from './pressure.ts'
import { RemoteDoor, serveDoor } from './remote-door.ts'
import { Windows } from './windows.ts'

/** The least that a cache can do something with. */
const MEMORY_MIN = 64 * PAGE_BYTES
const MAPPINGS_MAX = 16_384
const GRANT_OPTIONS: Required<GrantOptions> = { waitMs: 30_000, holdMs: 10_000, revokeMs: 5000 }
const TIMERS: Timers = {
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
}
/** In smaller caches what huge pages take beyond what is used would count, and the look-up is in the processor's caches anyway. */
const HUGE_PAGES_MIN = 2 ** 29

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

  private constructor(context: FileContext, keeper: Keeping | undefined) {
    this.#context = context
    this.#keeper = keeper
  }

  /** Makes a cache. Rejects with a RangeError where the options make no sense, or with the system's error where there is no memory. */
  static async create(options: PageCacheOptions): Promise<PageCache> {
    const bytes = typeof options.memory === 'number' ? options.memory : parseBytes(options.memory)
    if (bytes === undefined || !(bytes >= MEMORY_MIN) || !Number.isFinite(bytes))
      throw outOfRange(
        `memory: ${options.memory} is less than ${MEMORY_MIN} bytes, or no size; write 512MiB, or a number of bytes`,
      )
    const merge = mergeOptionsOf(options.merge)
    checkDax(options.dax)
    const keeping = new Keeping(bytes, options, await loadNative())
    if (merge !== undefined) await keeping.files.beginMerging(merge)
    return new PageCache(keeping.attachOwn(options.debug === true), keeping)
  }

  /** Attaches this thread to a cache that another one made. */
  static async attach(handle: PageCacheHandle): Promise<PageCache> {
    const native = handle.arena.kind === 'memfd' ? await loadNative() : undefined
    const near = nearOf(handle.near?.plan, native?.numa)
    const door = new RemoteDoor(handle.port, near)
    return new PageCache(
      contextOf(handle.memory, Arena.attach(handle.arena, native), native, handle.thread, door, handle.isDebug, {
        handle: handle.near,
        near,
      }),
      undefined,
    )
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

/** What the thread that made a cache has of it besides. */
class Keeping {
  readonly bytesMax: number
  readonly pages: PageKeeper
  readonly #memory: CacheMemory
  readonly files: FileKeeper
  readonly #arena: Arena
  readonly #near: NearMemory | undefined
  readonly #native: Native | undefined
  readonly #dax: DirectMemory | undefined
  readonly #currentNode: () => number
  readonly #homes: HomeSources | undefined
  readonly #doors = new Map<number, { readonly door: OwnDoor; readonly port: MessagePort | undefined }>()
  readonly #stopWatching: () => void
  #bytes: number

  constructor(bytes: number, options: PageCacheOptions, native: Native | undefined) {
    const frames = Math.ceil(bytes / PAGE_BYTES)
    const near = NearMemory.create(options.numa ?? 'off', frames, native)
    this.bytesMax = this.#bytes = bytes
    this.#memory = allocateMemory({
      frames,
      // One leaf for each page, and what leads to them: untouched nodes take no memory.
      nodes: frames + Math.ceil(frames / 16) + 256,
      mappings: MAPPINGS_MAX * (near?.mappingsPerFile ?? 1),
      threads: options.threads ?? 64,
      pinsPerThread: (options.pinsPerThread ?? 4096) + 1,
    })
    if (bytes >= HUGE_PAGES_MIN)
      for (const part of [this.#memory.frames, this.#memory.nodes]) native?.adviseHugePages(part)
    this.#near = near
    this.#currentNode = nearOf(near?.plan, native?.numa)
    this.#arena = Arena.create(frames, native, near?.plan)
    const clock = (frames: number, ages: Ages) => new ReuseClock(frames, ages)
    this.pages = new PageKeeper(
      this.#memory,
      (ages) => near?.clocks(ages, clock) ?? clock(frames, ages),
      bytes,
      (frames) => this.#arena.giveBack(frames),
      near?.nodes,
    )
    near?.start(this.pages, this.#arena)
    this.#native = native
    const dax = native && new DirectMemory(options.dax ?? 'auto', native, this.pages, this.#arena)
    this.#dax = dax
    const direct = options.direct !== false && this.#arena.isAligned
    this.#homes =
      native === undefined || dax === undefined || options.share === false
        ? undefined
        : new HomeSources(this.pages, native, direct, dax, options.minShareBytes, (key) => this.files.reconsider(key))
    const { waitMs, ...limits } = { ...GRANT_OPTIONS, ...options.grants }
    const authority = new GrantTable(TIMERS, limits)
    this.files = new FileKeeper(this.#memory, this.pages, this.#arena, native, this.#homes, {
      direct,
      dax,
      authority,
      waitMs,
    })
    this.#stopWatching =
      options.yieldUnderPressure === false ? () => {} : watchPressure((share) => this.#resizeTo(this.#bytes * share))
  }

  attachOwn(isDebug: boolean): FileContext {
    const thread = this.#attach(undefined, this.#currentNode)
    return contextOf(
      this.#memory,
      this.#arena,
      this.#native,
      thread,
      this.#doors.get(thread)!.door,
      isDebug,
      { handle: this.#near?.handle, near: this.#currentNode },
      new Shortcuts(this.pages),
    )
  }

  attachOther(isDebug: boolean): PageCacheHandle {
    const { port1, port2 } = new MessageChannel()
    const thread = this.#attach(port1, () => 0)
    const { door } = this.#doors.get(thread)!
    serveDoor(port1, door)
    port1.on('close', () => this.#detach(thread))
    port1.unref()
    const [memory, arena, near] = [this.#memory, this.#arena.handle, this.#near?.handle]
    return { memory, arena, near, thread, port: port2, isDebug, transferList: [port2] }
  }

  resize(bytes: number): void {
    this.#bytes = bytes
    this.#resizeTo(bytes)
  }

  stats(): PageCacheStats {
    const { pages } = this
    const { bytesLoaded, reads } = this.files.loader.counts
    const homes = this.#homes?.homes.statistics()
    return {
      arena: this.#arena.handle.kind,
      shares: this.#homes !== undefined,
      memoryMax: pages.bytesMax,
      pageBytes: (pages.counts.resident + (pages.direct?.counts.promoted ?? 0)) * PAGE_BYTES,
      indexBytes: pages.indexBytes,
      limboBytes: pages.frames.inLimbo * PAGE_BYTES,
      filesOpen: [...this.#doors.values()].reduce((sum, { door }) => sum + door.filesOpen, 0),
      threads: this.#doors.size,
      bytesLoaded,
      reads,
      evicted: pages.counts.evicted,
      refaults: pages.counts.refaults,
      ...(this.#near && { numa: this.#near.stats(this.#arena) }),
      dax: this.#dax?.stats(),
      homes: homes?.homes ?? 0,
      sharedBytes: homes?.runBytes ?? 0,
      merge: this.files.loader.merging?.stats(),
    }
  }

  checkInvariants(): void {
    this.pages.checkInvariants()
    this.files.loader.merging?.pages.checkInvariants()
  }

  async close(): Promise<void> {
    this.#stopWatching()
    // First of all: other threads may be in the middle of a hit.
    this.pages.end()
    for (const { door, port } of this.#doors.values()) {
      port?.close()
      door.closeAll()
    }
    await this.files.dispose()
    this.#arena.destroy()
  }

  #resizeTo(bytes: number): void {
    this.pages.resize(Math.max(MEMORY_MIN, Math.floor(bytes)))
  }

  #attach(port: MessagePort | undefined, near: () => number): number {
    for (let thread = 0; thread < this.#memory.sizes.threads; thread++) {
      if (this.#doors.has(thread)) continue
      this.pages.pinned.attach(thread)
      this.#doors.set(thread, { door: new OwnDoor(this.files, thread, near, this.#near, this.#dax), port })
      return thread
    }
    throw outOfRange(`${this.#memory.sizes.threads} threads are attached; make the cache with more: threads`)
  }

  /** The thread is no more, or wants nothing more. */
  #detach(thread: number): void {
    this.#doors.get(thread)?.door.closeAll()
    this.#doors.delete(thread)
    this.pages.pinned.detach(thread)
  }
}

function contextOf(
  memory: CacheMemory,
  arena: Arena,
  native: Native | undefined,
  thread: number,
  door: Door,
  isDebug: boolean,
  { handle, near }: { readonly handle: NearHandle | undefined; readonly near: () => number },
  shortcuts?: Shortcuts,
): FileContext {
  const lookup = new Lookup(memory, NEEDS_FENCE)
  const replicaMappings = handle?.replicaMappings ?? []
  const send = (node: number, samples: Int32Array) => door.sampled(node, samples)
  const direct =
    native && new DirectReader(lookup, new Windows(native.windows.view), (samples) => door.sampledDirect(samples))
  const reader =
    replicaMappings.length > 0
      ? new NearReader(lookup, arena, { near, replicaMappings, send }, shortcuts, direct)
      : new PageReader(lookup, arena, shortcuts, direct)
  return {
    reader,
    pins: new Pins(memory, thread),
    exclusion: new ExclusionReader(memory),
    door,
    holder: new Holder(door),
    isDebug,
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

function checkDax(mode: DaxMode | undefined): void {
  if (mode === undefined || ['auto', 'direct', 'cache'].includes(mode)) return
  throw Object.assign(new TypeError(`dax is 'auto', 'direct' or 'cache', not '${mode}'`), {
    code: 'ERR_INVALID_ARG_VALUE',
  })
}

function notHere(method: string): Error {
  return Object.assign(new Error(`${method} works on the thread that made the cache only`), {
    code: 'ERR_METHOD_NOT_SUPPORTED',
  })
}
