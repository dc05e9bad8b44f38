/**
 * The arena behind a mount (`--merge content`): pages of files that share nothing by address are held here, and those with equal bytes once, whatever files they are
 * of. The parts are the library's; the keeper's thread loads and merges, workers read (content-reader.ts).
 *
 * What is written through the mount is kept apart by the bitmap of own pages, as for files in homes (changes.ts): a page that is about to be written is own, and nobody
 * reads it here any more. And since the write moves the ctime, nothing is loaded any more either: what is missing is read from the file.
 *
 * Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { allocateMemory, type CacheMemory } from '../../cache/memory.ts'
import { PageKeeper } from '../../cache/page-keeper.ts'
import type { Ages } from '../../cache/reclaim/policy.ts'
import { ReuseClock } from '../../cache/reclaim/reuse-clock.ts'
import { Arena, type ArenaHandle } from '../../library/arena.ts'
import { linuxNative } from '../../library/linux-native.ts'
import { Loader } from '../../library/loader.ts'
import { type MergeStats, Merging } from '../../library/merging.ts'
import { type NearHandle, NearMemory, type NumaStats, type ReplicaStats } from '../../library/near-memory.ts'
import type { NumaMode } from '../../library/numa.ts'
import type { PageSource } from '../../library/page-source.ts'
import { watchPressure } from '../../library/pressure.ts'
import { isOpenForWriting } from '../../linux/lease.ts'
import { Statfs } from '../../linux/statfs.ts'
import type { Statx } from '../../linux/statx.ts'
import { OpenNodes } from '../near/open-nodes.ts'
import { type ContentFile, ContentFiles, canBeHeld } from './content-files.ts'
import { type ContentOptions, MEMORY_MIN } from './content-options.ts'

/** What a thread needs to read from the arena; travels to workers. */
export interface ContentMemory {
  readonly memory: CacheMemory
  readonly arena: ArenaHandle
  /** Absent where memory is not near anybody in particular. */
  readonly near?: ContentNearness
}

/** With `--numa`, on a machine of several nodes. */
export interface ContentNearness {
  readonly handle: NearHandle
  /** What {@link OpenNodes} takes; absent where files have no mapping of each node's. */
  readonly opened?: SharedArrayBuffer
}

export interface ContentStatistics extends MergeStats {
  /** Bytes that pages and their indexes may take now: less than `--memory` while memory is short. */
  readonly memoryMax: number
  /** Bytes of pages in memory, each counted once. */
  readonly pageBytes: number
  /** Bytes of what leads to them, and of what finds equal ones. */
  readonly indexBytes: number
  /** Files with a mapping, in use or not. */
  readonly files: number
  readonly bytesLoaded: number
  readonly evicted: number
  readonly refaults: number
}

const MAPPINGS_MAX = 16_384
/**
 * File systems on which whatever changes a file moves its ctime, stores through mappings included: ext4, XFS, btrfs. Not so on tmpfs, whose pages are in memory anyway: here they
 * would be a second time.
 */
const HONEST_CTIME: readonly number[] = [0xef53, 0x58465342, 0x9123683e]

/** Whether files of the file system that `fd` is on can be held in the arena. */
export function isMergeable(fd: number): boolean {
  const statfs = new Statfs()
  return statfs.ofFd(fd) === 0 && HONEST_CTIME.includes(statfs.type)
}

export class ContentCache {
  readonly shared: ContentMemory
  readonly pages: PageKeeper
  readonly #arena: Arena
  readonly #loader: Loader
  readonly #merging: Merging
  readonly #near: NearMemory | undefined
  /** Undefined where files have no mapping of each node's. */
  readonly opened: OpenNodes | undefined
  readonly #stopWatching: () => void
  readonly #files: ContentFiles

  private constructor(
    shared: ContentMemory,
    arena: Arena,
    pages: PageKeeper,
    merging: Merging,
    near: NearMemory | undefined,
    memoryBytes: number,
  ) {
    this.shared = shared
    this.pages = pages
    this.#arena = arena
    this.#merging = merging
    this.#near = near
    this.opened = shared.near?.opened && new OpenNodes(shared.near.opened)
    this.#files = new ContentFiles(pages)
    this.#loader = new Loader(pages, arena)
    this.#loader.merging = merging
    this.#stopWatching = watchPressure((share) => pages.resize(Math.max(MEMORY_MIN, Math.floor(memoryBytes * share))))
  }

  /** Throws what the system says where there is no memory. */
  static async create({ memoryBytes, numa = 'off', ...options }: ContentOptions): Promise<ContentCache> {
    const frames = Math.ceil(memoryBytes / PAGE_BYTES)
    const near = NearMemory.create(numa, frames, linuxNative)
    const memory = allocateMemory({
      frames,
      // One leaf for each page, and what leads to them: untouched nodes take no memory.
      nodes: frames + Math.ceil(frames / 16) + 256,
      mappings: MAPPINGS_MAX * (near?.mappingsPerFile ?? 1),
      // Nobody pins a frame: replies are copies.
      threads: 1,
      pinsPerThread: 1,
    })
    const arena = Arena.create(frames, linuxNative, near?.plan)
    const clock = (frames: number, ages: Ages) => new ReuseClock(frames, ages)
    const policy = (ages: Ages) => near?.clocks(ages, clock) ?? clock(frames, ages)
    const giveBack = (unused: readonly number[]) => arena.giveBack(unused)
    const pages = new PageKeeper(memory, policy, memoryBytes, giveBack, near?.nodes)
    near?.start(pages, arena)
    const merging = await Merging.begin(pages, arena, options)
    const opened = near?.mode === 'inode' ? { opened: OpenNodes.allocate() } : {}
    const shared = { memory, arena: arena.handle, ...(near && { near: { handle: near.handle, ...opened } }) }
    return new ContentCache(shared, arena, pages, merging, near, memoryBytes)
  }

  /**
   * The content file of what `fd` is open on, in the state `stat`, which was got just now; to be {@link release}d. Undefined where nothing may be said about the file now, or
   * there is no room: then it is read from itself.
   */
  take(key: string, domain: string | number, fd: number, stat: Statx): ContentFile | undefined {
    if (!isMergeable(fd) || !canBeHeld(stat, Date.now(), () => isOpenForWriting(fd))) return undefined
    return this.#files.take(key, domain, stat)
  }

  /** A run map less names it. */
  release(content: ContentFile): void {
    this.#files.release(content)
  }

  /**
   * Loads what is missing of `count` pages of the file from `page` on, of which the first `wanted` are asked for, from `source`. They may be missing all the same. Rejects with
   * the system's error where one of those that are wanted cannot be read. `near`: the node of who asks.
   */
  async load(
    content: ContentFile,
    source: PageSource,
    page: number,
    count: number,
    wanted: number,
    near: number,
  ): Promise<void> {
    this.#files.hold(content)
    try {
      await this.#loader.load(source, page, count, wanted, near)
    } finally {
      this.#files.release(content)
    }
  }

  /** A worker on `node` has sampled its hits: see cache/hit-samples.ts. */
  sampled(node: number, samples: Int32Array): void {
    this.#near?.sampled(node, samples)
  }

  /** Undefined without `--numa`, and on a machine of one node. Asks the kernel, which takes a moment. */
  numaStatistics(): (NumaStats & { readonly mode: NumaMode }) | undefined {
    return this.#near && { mode: this.#near.mode, ...this.#near.stats(this.#arena) }
  }

  /** The part of it for which nobody need ask the kernel. */
  replicaStatistics(): ReplicaStats | undefined {
    return this.#near?.replicaStats()
  }

  statistics(): ContentStatistics {
    const { pages } = this
    const merge = this.#merging.stats()
    return {
      ...merge,
      memoryMax: pages.bytesMax,
      pageBytes: pages.counts.resident * PAGE_BYTES,
      indexBytes: pages.indexBytes + merge.indexBytes,
      files: this.#files.count,
      bytesLoaded: this.#loader.counts.bytesLoaded,
      evicted: pages.counts.evicted,
      refaults: pages.counts.refaults,
    }
  }

  /** Gives all memory back. Nobody may have a file open. */
  async close(): Promise<void> {
    this.#stopWatching()
    this.#merging.stop()
    await this.#loader.settled()
    this.pages.end()
    this.#arena.destroy()
  }
}
