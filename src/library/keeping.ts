/** The side of a cache on the thread that made it: its memory, its keepers, and a door for each thread. */
import { isMainThread, MessageChannel, type MessagePort } from 'node:worker_threads'
import { PAGE_BYTES } from '../cache/entry.ts'
import type { GrantAuthority } from '../cache/grants/grant-authority.ts'
import { GrantTable } from '../cache/grants/grant-table.ts'
import { allocateMemory, type CacheMemory, type CacheSizes } from '../cache/memory.ts'
import { PageKeeper } from '../cache/page-keeper.ts'
import type { Ages } from '../cache/reclaim/policy.ts'
import { ReuseClock } from '../cache/reclaim/reuse-clock.ts'
import { Shortcuts } from '../cache/shared-entries.ts'
import { TIMERS } from '../util/timers.ts'
import { Arena } from './arena.ts'
import { outOfRange } from './arguments.ts'
import type { MountEvents, MountFiles } from './attached/mount-files.ts'
import { DirectMemory } from './direct-memory.ts'
import { contextOf } from './file-context.ts'
import { FileKeeper } from './file-keeper.ts'
import { HomeSources } from './home-sources.ts'
import { MemoryLimit } from './memory-limit.ts'
import type { Native } from './native.ts'
import { NearMemory } from './near-memory.ts'
import { nearOf } from './numa.ts'
import type { FileContext } from './open-file.ts'
import { OwnDoor } from './own-door.ts'
import type { PageCacheHandle, PageCacheOptions, PageCacheStats } from './page-cache-options.ts'
import { watchPressure } from './pressure.ts'
import { serveDoor } from './remote-door.ts'

/** The least that a cache can do something with. */
export const MEMORY_MIN = 64 * PAGE_BYTES
const MAPPINGS_MAX = 16_384
/** In smaller caches what huge pages take beyond what is used would count, and the look-up is in the processor's caches anyway. */
const TABLES_HUGE_PAGES_MIN = 2 ** 29

/** Attaches a cache to a mount; `table`: of the cache, `files`: of its keeper. */
type AttachToMount = (table: GrantAuthority, files: MountEvents) => MountFiles

/** What the thread that made a cache has of it besides. */
export class Keeping {
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
  readonly #mount: MountFiles | undefined
  readonly #limit: MemoryLimit

  constructor(bytes: number, options: PageCacheOptions, native: Native | undefined, attach?: AttachToMount) {
    const { waitMs = 30_000, holdMs = 10_000, revokeMs = 5000 } = options.grants ?? {}
    // The mount alone takes grants from holders.
    const authority = new GrantTable(TIMERS, attach === undefined ? { holdMs, revokeMs } : {})
    this.#mount = attach?.(authority, {
      keepOut: (key, from, to) => this.files.keepOut(key, from, to),
      close: (inode) => this.files.close(inode, true),
    })
    const frames = Math.ceil(bytes / PAGE_BYTES)
    const near = NearMemory.create(options.numa ?? 'off', frames, native)
    this.bytesMax = bytes
    this.#memory = allocated({
      frames,
      // One leaf for each page, and what leads to them: untouched nodes take no memory.
      nodes: frames + Math.ceil(frames / 16) + 256,
      mappings: MAPPINGS_MAX * (near?.mappingsPerFile ?? 1),
      threads: options.threads ?? 64,
      pinsPerThread: (options.pinsPerThread ?? 4096) + 1,
    })
    if (bytes >= TABLES_HUGE_PAGES_MIN)
      for (const part of [this.#memory.frames, this.#memory.nodes]) native?.adviseHugePages(part)
    this.#near = near
    this.#currentNode = nearOf(near?.plan, native?.numa)
    this.#arena = Arena.create(frames, native, near?.plan)
    const clock = (frames: number, ages: Ages) => new ReuseClock(frames, ages)
    this.pages = new PageKeeper(
      this.#memory,
      (ages) => near?.clocks(ages, clock) ?? clock(frames, ages),
      bytes - this.#arena.slackBytes,
      (frames) => this.#arena.giveBack(frames),
      near?.nodes,
    )
    this.#limit = new MemoryLimit(this.#arena, this.pages, bytes, MEMORY_MIN)
    near?.start(this.pages, this.#arena)
    this.#native = native
    const dax = native && new DirectMemory(options.dax ?? 'auto', native, this.pages, this.#arena)
    this.#dax = dax
    const direct = options.direct !== false && this.#arena.isAligned
    this.#homes =
      native === undefined || dax === undefined || options.share === false
        ? undefined
        : new HomeSources(this.pages, native, direct, dax, options.minShareBytes, (key) => this.files.reconsider(key))
    this.files = new FileKeeper(this.#memory, this.pages, this.#arena, native, this.#homes, {
      direct,
      dax,
      authority,
      waitMs,
      mount: this.#mount,
    })
    this.#stopWatching =
      options.yieldUnderPressure === false ? () => {} : watchPressure((share) => this.#limit.yieldTo(share))
    // What is the process's stays when a worker ends. (When one is terminated nobody is asked.)
    if (!isMainThread) callAtExit(this.#abandon)
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
    this.#limit.resize(bytes)
  }

  stats(): PageCacheStats {
    const { pages } = this
    const { bytesLoaded, reads } = this.files.loader.counts
    const homes = this.#homes?.homes.statistics()
    return {
      arena: this.#arena.handle.kind,
      shares: this.#homes !== undefined,
      grantedBy: this.#mount === undefined ? 'cache' : this.#mount.isConnected ? 'mount' : 'nobody',
      memoryMax: this.#limit.bytes,
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
    atExit.delete(this.#abandon)
    this.#stopWatching()
    // First of all: other threads may be in the middle of a hit.
    this.pages.end()
    for (const { door, port } of this.#doors.values()) {
      port?.close()
      door.closeAll()
    }
    this.#mount?.close()
    await this.files.dispose()
    this.#arena.destroy()
  }

  readonly #abandon = (): void => {
    this.pages.end()
    this.files.abandon()
    this.#dax?.abandon()
    this.#arena.destroy()
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

/** What a cache of these sizes needs beside its pages. Throws ERR_OUT_OF_RANGE where that is more than there can be. */
function allocated(sizes: CacheSizes): CacheMemory {
  try {
    return allocateMemory(sizes)
  } catch (error) {
    const { frames, threads, pinsPerThread } = sizes
    const what = `${frames} pages, ${threads} threads and ${pinsPerThread} pins of each`
    throw Object.assign(outOfRange(`memory: there is no room for the records of ${what}`), { cause: error })
  }
}

/** What is called when this thread ends. One listener for all: Node.js would take many for a leak. */
const atExit = new Set<() => void>()
let isListening = false

function callAtExit(call: () => void): void {
  atExit.add(call)
  if (isListening) return
  isListening = true
  process.once('exit', () => {
    for (const each of atExit) each()
  })
}
