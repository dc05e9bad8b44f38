/** What a cache is made with, and what it tells of itself. */
import type { MessagePort } from 'node:worker_threads'
import type { CacheMemory } from '../cache/memory.ts'
import type { ArenaHandle } from './arena.ts'
import type { AsyncOptions } from './cached-file.ts'
import type { DaxMode, DaxStats } from './direct-memory.ts'
import type { MergeOptions, MergeProgress, MergeStats } from './merging.ts'
import type { NearHandle, NumaStats } from './near-memory.ts'
import type { NumaMode } from './numa.ts'

/** Of {@link PageCache.create}. */
export interface PageCacheOptions {
  /** What pages and their indexes may take, in bytes or as `512MiB`: 256 KiB to 120 GiB. Never exceeded. */
  readonly memory: number | string
  /** Read past the kernel's own cache where the file system can, so that no page is in memory twice. Default true. */
  readonly direct?: boolean | undefined
  /** Let files that share storage share memory, where the file system tells (XFS, btrfs; Linux). Default true. */
  readonly share?: boolean | undefined
  /**
   * Let pages with equal bytes share memory, whatever files and file systems they are of, and whatever `share` says: `'content'`, or how. Default false: that takes time for each page that is
   * read, see {@link MergeOptions.cpu}.
   */
  readonly merge?: false | 'content' | MergeOptions | undefined
  /** Fewer shared bytes than this in a file are not worth sharing. Default 256 KiB. */
  readonly minShareBytes?: number | undefined
  /**
   * Near memory, on a machine of several NUMA nodes: pages are loaded into memory of the node from which they are asked for. `replicate`: clean pages that are read often
   * from another node get a replica there. `inode`: each node has pages of its own for each file. On a machine of one node nothing of it is there.
   * Default `off`.
   */
  readonly numa?: NumaMode | undefined
  /**
   * How files on DAX storage (XFS or ext4 on persistent memory or CXL, mounted with `dax`) are read, see docs/dax.md. `auto`: where they lie on the device, and what is read often from a copy
   * in memory. `direct`: always where they lie. `cache`: as any other file, from copies. Default `auto`. Elsewhere it means nothing.
   */
  readonly dax?: DaxMode | undefined
  /** Shrink while the system, or the cgroup, is short of memory, and grow back afterwards. Default true. */
  readonly yieldUnderPressure?: boolean | undefined
  /** Views are copies, which are taken away when they are disposed: for finding who keeps them. Slow. Default false. */
  readonly debug?: boolean | undefined
  /** Threads that can be attached at once, this one included. Default 64. */
  readonly threads?: number | undefined
  /** Pages that the views of one thread can pin at once; views beyond are copies. Default 4096. */
  readonly pinsPerThread?: number | undefined
  /** How long anybody waits for ranges that are exclusively somebody's. */
  readonly grants?: GrantOptions | undefined
}

/**
 * Of {@link PageCache.attach} to a mount. Files share memory by content there ({@link PageCacheOptions.merge}); by storage the mount does it. Of {@link GrantOptions} only `waitMs` counts: the mount
 * asks holders to give up when somebody revokes, never by itself.
 */
export type AttachOptions = Omit<PageCacheOptions, 'direct' | 'share' | 'minShareBytes' | 'dax'>

/** See {@link CachedFile.exclusive}. All in milliseconds. */
export interface GrantOptions {
  /** Reads and writes wait for so long, then they reject with `ETIMEDOUT`. Default 30,000. */
  readonly waitMs?: number | undefined
  /** A holder for whom others wait is asked to give up after so long. Default 10,000. */
  readonly holdMs?: number | undefined
  /** Then its grant is taken after so long. Default 5,000. */
  readonly revokeMs?: number | undefined
}

/** Of {@link PageCache.open}. */
export interface OpenOptions {
  /**
   * A number, 0 or more, for whom the file belongs to: files of different domains share no memory, neither by address nor by content. A file is of one domain at a time. Default 0.
   */
  readonly domain?: number | undefined
}

/** Of {@link PageCache.merge}. */
export interface MergeNowOptions extends AsyncOptions {
  /** Called after each step, of up to 1 MiB. */
  readonly onProgress?: ((progress: MergeProgress) => void) | undefined
}

/** What {@link PageCache.stats} tells. Counts are since the cache was made. */
export interface PageCacheStats {
  /** How the arena is held: `mapped`, or `buffer` where system calls are missing. */
  readonly arena: 'mapped' | 'buffer'
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
  /** Pages on DAX storage; undefined where none was opened yet. */
  readonly dax: DaxStats | undefined
  /** Bytes of pages that are no file's any more, and whose room is not free yet: somebody has them pinned, or nobody has looked whether that is still so. */
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
