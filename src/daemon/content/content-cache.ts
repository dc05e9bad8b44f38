/**
 * The arena behind a mount (`--merge content`): pages of files that share nothing by address are held here, and those with equal bytes once, whatever files they are
 * of. The parts are the library's; the keeper's thread loads and merges, workers read (content-reader.ts).
 *
 * A *content file* is the mapping of one file in one state (ctime and size). A page in it is what the file held in that state, and nothing else, because
 * ```
 *   accept   the ctime is older than its granule, and then nobody has the file open for writing: who changes it from now on moves its ctime first
 *   load     read the page, then stat: still that state? publish it : give it up
 *   open     the state is that of the content file? use it : the file gets a new one
 * ```
 * What is written through the mount is kept apart by the bitmap of own pages, as for files in homes (changes.ts): a page that is about to be written is own, and nobody
 * reads it here any more. And since the write moves the ctime, nothing is loaded any more either: what is missing is read from the file.
 *
 * The mapping outlives the last close, and is used again by an open that finds the file in that state. Its pages go when the policy says so.
 *
 * Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { allocateMemory, type CacheMemory } from '../../cache/memory.ts'
import { PageKeeper } from '../../cache/page-keeper.ts'
import { ReuseClock } from '../../cache/reclaim/reuse-clock.ts'
import { Arena, type ArenaHandle } from '../../library/arena.ts'
import { linuxNative } from '../../library/linux-native.ts'
import { Loader } from '../../library/loader.ts'
import { type MergeStats, Merging } from '../../library/merging.ts'
import type { PageSource } from '../../library/page-source.ts'
import { watchPressure } from '../../library/pressure.ts'
import { isOpenForWriting } from '../../linux/lease.ts'
import { Statfs } from '../../linux/statfs.ts'
import type { Statx } from '../../linux/statx.ts'
import { type ContentOptions, MEMORY_MIN } from './content-options.ts'

/** What a thread needs to read from the arena; travels to workers. */
export interface ContentMemory {
  readonly memory: CacheMemory
  readonly arena: ArenaHandle
}

/** Which mapping a file's pages are in, and what {@link Lookup.layoutOf} says as long as it is this file's. */
export interface ContentRef {
  readonly mapping: number
  readonly version: number
}

export interface ContentFile extends ContentRef {
  readonly key: string
  readonly state: FileState
}

/** A file of which a page was read, and when: equal states, equal bytes. */
interface FileState {
  readonly ino: number
  readonly devMajor: number
  readonly devMinor: number
  readonly ctimeSec: number
  readonly ctimeNsec: number
  readonly size: number
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

/** The arena is on no node in particular. */
const NOWHERE = 0
const MAPPINGS_MAX = 16_384
/** Two changes within this time may get equal ctimes; twice what it is on kernels before 6.13. */
const GRANULE_MS = 20
/** The same, where the file system keeps seconds (ext3, small inodes of ext4): every ctime ends in zeros there. */
const COARSE_GRANULE_MS = 2_000
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

interface Mapped extends ContentFile {
  /** Run maps that name it, and loads under way. */
  users: number
}

export class ContentCache {
  readonly shared: ContentMemory
  readonly pages: PageKeeper
  readonly #arena: Arena
  readonly #loader: Loader
  readonly #merging: Merging
  readonly #stopWatching: () => void
  /** The latest of each file; those that nobody uses in the order in which they were let go. */
  readonly #files = new Map<string, Mapped>()
  /** Domains of the mount, by the number that the pages' keeper has for them. */
  readonly #domains = new Map<string | number, number>()
  readonly #statfs = new Statfs()

  private constructor(shared: ContentMemory, arena: Arena, pages: PageKeeper, merging: Merging, memoryBytes: number) {
    this.shared = shared
    this.pages = pages
    this.#arena = arena
    this.#merging = merging
    this.#loader = new Loader(pages, arena)
    this.#loader.merging = merging
    this.#stopWatching = watchPressure((share) => pages.resize(Math.max(MEMORY_MIN, Math.floor(memoryBytes * share))))
  }

  /** Throws what the system says where there is no memory. */
  static async create({ memoryBytes, ...options }: ContentOptions): Promise<ContentCache> {
    const frames = Math.ceil(memoryBytes / PAGE_BYTES)
    const memory = allocateMemory({
      frames,
      // One leaf for each page, and what leads to them: untouched nodes take no memory.
      nodes: frames + Math.ceil(frames / 16) + 256,
      mappings: MAPPINGS_MAX,
      // Nobody pins a frame: replies are copies.
      threads: 1,
      pinsPerThread: 1,
    })
    const arena = Arena.create(frames, linuxNative)
    const policy = (ages: ConstructorParameters<typeof ReuseClock>[1]) => new ReuseClock(frames, ages)
    const pages = new PageKeeper(memory, policy, memoryBytes, (unused) => arena.giveBack(unused))
    const merging = await Merging.begin(pages, arena, options)
    return new ContentCache({ memory, arena: arena.handle }, arena, pages, merging, memoryBytes)
  }

  /**
   * The content file of what `fd` is open on, in the state `stat`, which was got just now; to be {@link release}d. Undefined where nothing may be said about the file now, or
   * there is no room: then it is read from itself.
   */
  take(key: string, domain: string | number, fd: number, stat: Statx): ContentFile | undefined {
    if (!this.#isAtRest(fd, stat)) return undefined
    const state = stateOf(stat)
    let file = this.#files.get(key)
    if (file !== undefined && !isSameState(file.state, state)) {
      this.#files.delete(key)
      if (file.users === 0) this.pages.deleteMapping(file.mapping)
      file = undefined
    }
    file ??= this.#create(key, domain, state)
    if (file === undefined) return undefined
    file.users++
    // Behind all that are in use, or have been.
    this.#files.delete(key)
    this.#files.set(key, file)
    return file
  }

  /** A run map less names it. */
  release(content: ContentFile): void {
    const file = content as Mapped
    if (--file.users === 0 && this.#files.get(file.key) !== file) this.pages.deleteMapping(file.mapping)
  }

  /**
   * Loads what is missing of `count` pages of the file from `page` on, of which the first `wanted` are asked for, from `source`. They may be missing all the same. Rejects with
   * the system's error where one of those that are wanted cannot be read.
   */
  async load(content: ContentFile, source: PageSource, page: number, count: number, wanted: number): Promise<void> {
    const file = content as Mapped
    file.users++
    try {
      await this.#loader.load(source, page, count, wanted, NOWHERE)
    } finally {
      this.release(file)
    }
  }

  statistics(): ContentStatistics {
    const { pages } = this
    const merge = this.#merging.stats()
    return {
      ...merge,
      memoryMax: pages.bytesMax,
      pageBytes: pages.counts.resident * PAGE_BYTES,
      indexBytes: pages.indexBytes + merge.indexBytes,
      files: this.#files.size,
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

  /** Whether what changes the file from now on moves its ctime. `stat` was got before this. */
  #isAtRest(fd: number, stat: Statx): boolean {
    const ageMs = Date.now() - (stat.ctimeSec * 1000 + stat.ctimeNsec / 1e6)
    if (ageMs < (stat.ctimeNsec === 0 ? COARSE_GRANULE_MS : GRANULE_MS)) return false
    if (this.#statfs.ofFd(fd) < 0 || !HONEST_CTIME.includes(this.#statfs.type)) return false
    return isOpenForWriting(fd) === false
  }

  #create(key: string, domain: string | number, state: FileState): Mapped | undefined {
    const number = this.#domains.get(domain) ?? this.#domains.size
    this.#domains.set(domain, number)
    let mapping = this.pages.createMapping(number)
    while (mapping < 0 && this.#forgetOldest()) mapping = this.pages.createMapping(number)
    if (mapping < 0) return undefined
    return { key, state, mapping, version: this.pages.changeLayout(mapping), users: 0 }
  }

  /** Of the files that nobody uses, the one that was let go longest ago; false where there is none. */
  #forgetOldest(): boolean {
    for (const file of this.#files.values()) {
      if (file.users > 0) continue
      this.#files.delete(file.key)
      this.pages.deleteMapping(file.mapping)
      return true
    }
    return false
  }
}

export function stateOf({ ino, devMajor, devMinor, ctimeSec, ctimeNsec, size }: Statx): FileState {
  return { ino, devMajor, devMinor, ctimeSec, ctimeNsec, size }
}

/** Whether `stat` is of that file, in that state. */
export function isSameState(state: FileState, stat: FileState): boolean {
  return (
    state.ino === stat.ino &&
    state.ctimeNsec === stat.ctimeNsec &&
    state.ctimeSec === stat.ctimeSec &&
    state.size === stat.size &&
    state.devMajor === stat.devMajor &&
    state.devMinor === stat.devMinor
  )
}
