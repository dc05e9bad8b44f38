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
import { Loader } from '../../library/loader.ts'
import { type MergeOptions, type MergeStats, Merging } from '../../library/merging.ts'
import type { PageSource } from '../../library/page-source.ts'
import { kindOf, movesCtime } from '../../linux/filesystem-kinds.ts'
import { isOpenForWriting } from '../../linux/lease.ts'
import type { Statx } from '../../linux/statx.ts'
import { type ContentFile, ContentFiles, canBeHeld } from './content-files.ts'
import type { MountArena } from './mount-arena.ts'

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

export class ContentCache {
  readonly #arena: MountArena
  readonly #loader: Loader
  readonly #merging: Merging
  readonly #files: ContentFiles

  private constructor(mountArena: MountArena, merging: Merging) {
    const { pages, arena } = mountArena
    this.#arena = mountArena
    this.#merging = merging
    this.#files = new ContentFiles(pages)
    this.#loader = new Loader(pages, arena)
    this.#loader.merging = merging
    this.#loader.onCached = (bytes, hasGrown) => mountArena.cached(bytes, hasGrown)
  }

  static async create(arena: MountArena, options: Pick<MergeOptions, 'cpu'>): Promise<ContentCache> {
    return new ContentCache(arena, await Merging.begin(arena.pages, arena.arena, options))
  }

  /**
   * The content file of what `fd` is open on, in the state `stat`, which was got just now; to be {@link release}d. Undefined where nothing may be said about the file now, or
   * there is no room: then it is read from itself. `makeRoom`: see {@link ContentFiles.take}.
   */
  take(
    key: string,
    domain: string | number,
    fd: number,
    stat: Statx,
    makeRoom: () => boolean,
  ): ContentFile | undefined {
    if (!movesCtime(kindOf(fd)) || !canBeHeld(stat, Date.now(), () => isOpenForWriting(fd))) return undefined
    return this.#files.take(key, domain, stat, makeRoom)
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
    // Who reads ahead may have been closed between two loads.
    if (!this.#files.hold(content)) return
    try {
      await this.#loader.load(source, page, count, wanted, near)
    } finally {
      this.#files.release(content)
    }
  }

  statistics(): ContentStatistics {
    const { pages } = this.#arena
    const merge = this.#merging.stats()
    return {
      ...merge,
      memoryMax: this.#arena.memoryMax,
      pageBytes: pages.counts.resident * PAGE_BYTES,
      indexBytes: pages.indexBytes + merge.indexBytes,
      files: this.#files.count,
      bytesLoaded: this.#loader.counts.bytesLoaded,
      evicted: pages.counts.evicted,
      refaults: pages.counts.refaults,
    }
  }

  /** Nobody may have a file open. */
  async close(): Promise<void> {
    this.#merging.stop()
    await this.#loader.end()
  }
}
