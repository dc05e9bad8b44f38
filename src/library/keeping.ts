/** The side of a cache on the thread that made it: its memory, its keepers, and a door for each thread. */
import { isMainThread, MessageChannel, type MessagePort } from 'node:worker_threads'
import { PAGE_BYTES } from '../cache/entry.ts'
import type { GrantAuthority } from '../cache/grants/grant-authority.ts'
import { GrantTable } from '../cache/grants/grant-table.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { Shortcuts } from '../cache/shared-entries.ts'
import { TIMERS } from '../util/timers.ts'
import { outOfRange } from './arguments.ts'
import type { MountEvents, MountFiles } from './attached/mount-files.ts'
import { DirectMemory } from './direct-memory.ts'
import { contextOf } from './file-context.ts'
import { FileKeeper } from './file-keeper.ts'
import { HomeSources } from './home-sources.ts'
import type { Native } from './native.ts'
import { nearOf } from './numa.ts'
import type { FileContext } from './open-file.ts'
import { OwnDoor } from './own-door.ts'
import type { PageCacheHandle, PageCacheOptions, PageCacheStats } from './page-cache-options.ts'
import { PageMemory } from './page-memory.ts'
import { type PressureWatch, watchPressure } from './pressure.ts'
import { serveDoor } from './remote-door.ts'

/** In smaller caches what huge pages take beyond what is used would count, and the look-up is in the processor's caches anyway. */
const HUGE_RECORDS_MIN = 2 ** 29

/** Attaches a cache to a mount; `table`: of the cache, `files`: of its keeper. */
type AttachToMount = (table: GrantAuthority, files: MountEvents) => MountFiles

/** What the thread that made a cache has of it besides. */
export class Keeping {
  readonly bytesMax: number
  readonly pages: PageKeeper
  readonly files: FileKeeper
  readonly #memory: PageMemory
  readonly #native: Native | undefined
  readonly #dax: DirectMemory | undefined
  readonly #currentNode: () => number
  readonly #homes: HomeSources | undefined
  readonly #doors = new Map<number, { readonly door: OwnDoor; readonly port: MessagePort | undefined }>()
  readonly #pressure: PressureWatch | undefined
  readonly #mount: MountFiles | undefined

  constructor(bytes: number, options: PageCacheOptions, native: Native | undefined, attach?: AttachToMount) {
    const { waitMs = 30_000, holdMs = 10_000, revokeMs = 5000 } = options.grants ?? {}
    // The mount alone takes grants from holders.
    const authority = new GrantTable(TIMERS, attach === undefined ? { holdMs, revokeMs } : {})
    this.#mount = attach?.(authority, {
      keepOut: (key, from, to) => this.files.keepOut(key, from, to),
      close: (inode) => this.files.close(inode, true),
    })
    this.bytesMax = bytes
    this.#memory = new PageMemory(
      bytes,
      {
        numa: options.numa ?? 'off',
        threads: options.threads ?? 64,
        pinsPerThread: (options.pinsPerThread ?? 4096) + 1,
        hugeRecords: bytes >= HUGE_RECORDS_MIN,
      },
      native,
    )
    const { shared, arena, pages, near } = this.#memory
    this.pages = pages
    this.#currentNode = nearOf(near?.plan, native?.numa)
    this.#native = native
    const dax = native && new DirectMemory(options.dax ?? 'auto', native, pages, arena)
    this.#dax = dax
    const direct = options.direct !== false && arena.isAligned
    this.#homes =
      native === undefined || dax === undefined || options.share === false
        ? undefined
        : new HomeSources(pages, native, direct, dax, options.minShareBytes, (key) => this.files.reconsider(key))
    this.files = new FileKeeper(shared, pages, arena, native, this.#homes, {
      direct,
      dax,
      authority,
      waitMs,
      mount: this.#mount,
    })
    if (options.yieldUnderPressure !== false) {
      const pressure = watchPressure((share) => this.#memory.limit.yieldTo(share))
      this.files.loader.onCached = (bytes, hasGrown) => pressure.cached(bytes, hasGrown)
      this.#pressure = pressure
    }
    // What is the process's stays when a worker ends. (When one is terminated nobody is asked.)
    if (!isMainThread) callAtExit(this.#abandon)
  }

  attachOwn(isDebug: boolean): FileContext {
    const thread = this.#attach(undefined, this.#currentNode)
    const { shared, arena, near } = this.#memory
    return contextOf(
      shared,
      arena,
      this.#native,
      thread,
      this.#doors.get(thread)!.door,
      isDebug,
      { handle: near?.handle, near: this.#currentNode },
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
    const { shared, arena, near } = this.#memory
    return {
      memory: shared,
      arena: arena.handle,
      near: near?.handle,
      thread,
      port: port2,
      isDebug,
      transferList: [port2],
    }
  }

  resize(bytes: number): void {
    this.#memory.limit.resize(bytes)
  }

  stats(): PageCacheStats {
    const { pages, arena, near, limit } = this.#memory
    const { bytesLoaded, reads } = this.files.loader.counts
    const homes = this.#homes?.homes.statistics()
    return {
      arena: arena.handle.kind,
      shares: this.#homes !== undefined,
      grantedBy: this.#mount === undefined ? 'cache' : this.#mount.isConnected ? 'mount' : 'nobody',
      memoryMax: limit.bytes,
      pageBytes: (pages.counts.resident + (pages.direct?.counts.promoted ?? 0)) * PAGE_BYTES,
      indexBytes: pages.indexBytes,
      limboBytes: pages.frames.inLimbo * PAGE_BYTES,
      filesOpen: [...this.#doors.values()].reduce((sum, { door }) => sum + door.filesOpen, 0),
      threads: this.#doors.size,
      bytesLoaded,
      reads,
      evicted: pages.counts.evicted,
      refaults: pages.counts.refaults,
      ...(near && { numa: near.stats(arena) }),
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
    this.#pressure?.stop()
    // First of all: other threads may be in the middle of a hit.
    this.pages.end()
    for (const { door, port } of this.#doors.values()) {
      port?.close()
      door.closeAll()
    }
    this.#mount?.close()
    await this.files.dispose()
    this.#memory.arena.destroy()
  }

  readonly #abandon = (): void => {
    this.pages.end()
    this.files.abandon()
    this.#dax?.abandon()
    this.#memory.arena.destroy()
  }

  #attach(port: MessagePort | undefined, near: () => number): number {
    for (let thread = 0; thread < this.#memory.shared.sizes.threads; thread++) {
      if (this.#doors.has(thread)) continue
      this.pages.pinned.attach(thread)
      this.#doors.set(thread, { door: new OwnDoor(this.files, thread, near, this.#memory.near, this.#dax), port })
      return thread
    }
    throw outOfRange(`${this.#memory.shared.sizes.threads} threads are attached; make the cache with more: threads`)
  }

  /** The thread is no more, or wants nothing more. */
  #detach(thread: number): void {
    this.#doors.get(thread)?.door.closeAll()
    this.#doors.delete(thread)
    this.pages.pinned.detach(thread)
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
