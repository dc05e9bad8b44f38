/** All that the threads of the serving process share, as it travels to a worker when it starts. */
import type { MessagePort } from 'node:worker_threads'
import type { DaxMode } from '../library/direct-memory.ts'
import type { MergeOptions } from '../library/merging.ts'
import type { ArenaOptions } from './content/arena-options.ts'
import type { ContentRef } from './content/content-files.ts'
import type { ArenaMemory } from './content/mount-arena.ts'
import type { DirectHome } from './dax/direct-homes.ts'
import type { Source } from './inode-files.ts'
import type { LockRequest } from './locks/lock-table.ts'
import type { MountIdentity } from './mounting.ts'

/** The modes in which a mount does anything about DAX. */
export type MountDaxMode = Exclude<DaxMode, 'cache'>

export interface ServingOptions {
  /** Seconds for which the kernel may use names and attributes without asking. */
  readonly timeoutSeconds: number
  readonly passthrough: boolean
  readonly directIoMmap: boolean
  /** Whether a SETXATTR has the longer header: see SETXATTR_IN_BYTES. */
  readonly setxattrExt: boolean
  /** Whether the kernel may keep its own copy of diverged files: faster, at the price of memory. */
  readonly divergedCached: boolean
  readonly maxReadBytes: number
  /** Files that can change are never passed through to a home: who has them open then sees what others write. */
  readonly strict: boolean
  /** Whether the mount can be written to. */
  readonly writable: boolean
  /** Whether changes below the mount are noticed as they happen. */
  readonly watch: boolean
  /** Whether files can be created as whoever asks: the daemon is root. */
  readonly privileged: boolean
  /** The same, and the file system may keep room for root that clients are not to have. */
  readonly keepsForRoot: boolean
  readonly minShareBytes: number
  /** Smaller files are passed through to themselves when they are opened for writing. */
  readonly minWriteShareBytes: number
  /** Whether files can share by address at all here. */
  readonly sharing: boolean
  /** Whether files that do not are held in the arena, where equal pages are merged. */
  readonly merge: boolean
  /** Whether the kernel may keep lists of directories, see listings.ts. */
  readonly keepsLists: boolean
  /** How pages of homes with DAX are read; absent: as any others. */
  readonly dax?: MountDaxMode
  /** How many descriptors the process may have. */
  readonly descriptorsLimit: number
  /** How often an idle worker looks for a request before it sleeps. */
  readonly spins: number
}

/** What the supervisor tells the serving process when it starts it; travels as JSON. */
export interface ServingStart {
  readonly sourcePath: string
  /** Where it was mounted; by it the control socket is named. */
  readonly mountpoint: string
  readonly mount: MountIdentity
  /** Descriptor numbers in the serving process. */
  readonly fuseFd: number
  readonly sourceFd: number
  readonly privileged: boolean
  readonly passthrough: boolean
  /** Whether the mount can be written to. */
  readonly writable: boolean
  /** Whether to notice changes below the mount as they happen. */
  readonly watch: boolean
  /** False: never write anything to the source. */
  readonly homes: boolean
  readonly homesMax: number
  readonly homeIdleMs: number
  readonly cross: boolean
  readonly domain: Source['domain']
  /** Whether readers of a file that lies in homes see what is written after they opened it. */
  readonly strict: boolean
  readonly divergedCached: boolean
  readonly minShareBytes: number
  readonly minWriteShareBytes: number
  /** There is an arena; absent: none is needed. */
  readonly arena?: ArenaOptions
  /** Equal pages are merged in it; absent: nothing is. */
  readonly merge?: Pick<MergeOptions, 'cpu'>
  readonly dax?: MountDaxMode
  readonly timeoutSeconds: number
  readonly maxReadBytes: number
  readonly workers: number
  readonly spins: number
  /** The NUMA node whose memory homes are to lie in, and how many bytes of each are read ahead; absent: wherever. */
  readonly near?: { readonly node: number; readonly aheadBytes: number }
  /** After so long without any progress the mount is given up; 0: never. */
  readonly hangMs: number
  /** Directories whose descriptor is kept. */
  readonly directoriesMax: number
  /** Address for Prometheus metrics, or absent. */
  readonly metrics?: { readonly host: string; readonly port: number }
  readonly version: string
  readonly startedAtMs: number
}

/** From the serving process to the supervisor. */
export type FromServing =
  | { readonly type: 'ready'; readonly passthrough: boolean; readonly minor: number; readonly sharing: Sharing }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'ended' }

/** Whether files of the source can share by address, and if not, why: a sentence for people. */
export interface Sharing {
  readonly possible: boolean
  readonly fileSystem: string
  readonly reason: string
}

export interface SharedState {
  readonly inodes: SharedArrayBuffer
  readonly filesystems: SharedArrayBuffer
  readonly homes: SharedArrayBuffer
  readonly crew: SharedArrayBuffer
  readonly stats: SharedArrayBuffer
  /** See {@link LockCounts}. */
  readonly locks: SharedArrayBuffer
  /** By thread, a word in which it counts its mutexes: those of workers, of the threads of grants and of leases, of the watcher. */
  readonly mutexes: SharedArrayBuffer
  /** See {@link ToldStale}. */
  readonly toldStale: SharedArrayBuffer
  /** See {@link Space}. */
  readonly space: SharedArrayBuffer
  /** See {@link WarmFiles}. */
  readonly warm: SharedArrayBuffer
  /** See {@link GrantedRanges}. */
  readonly granted: SharedArrayBuffer
  /** Of {@link WATCH_COUNTERS}. */
  readonly watch: SharedArrayBuffer
  /** Absent where there is none. */
  readonly arena?: ArenaMemory
  readonly source: Source
  readonly options: ServingOptions
}

export interface WorkerStart {
  readonly worker: number
  /** The worker's own clone of /dev/fuse. */
  readonly fuseFd: number
  readonly shared: SharedState
  /** Where it receives requests: the main thread looks there for what it had in hand when it died. */
  readonly request: SharedArrayBuffer
  readonly notifier: MessagePort
  /** To the grants' thread, which may not have started yet. */
  readonly grants: MessagePort
}

/** To the grants' thread, see grants/grants-thread.ts. */
export type ToGrants =
  /** A request that touches what is granted, as it came from the kernel, by the worker's descriptor `fuseFd`. */
  | { readonly type: 'request'; readonly fuseFd: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly type: 'interrupt'; readonly uniqueLow: number; readonly uniqueHigh: number }

/** A request that the keeper answers. */
export interface Asked {
  readonly fuseFd: number
  readonly uniqueLow: number
  readonly uniqueHigh: number
}

/** A file to load from into the arena. */
interface Loadable {
  readonly slot: number
  readonly map: number
  /** The NUMA node that asks. */
  readonly near: number
  /** A descriptor for this load alone: the keeper closes it. */
  readonly loadFd: number
  /** It reads past the kernel's own cache. */
  readonly isDirect: boolean
}

/** From a worker to the keeper. */
export type ToKeeper =
  | (Asked & {
      readonly type: 'open'
      readonly slot: number
      /** For reading, whatever the client wants. */
      readonly fd: number
      /** As the client gave them. */
      readonly flags: number
    })
  /** Pages of a file that is read from the arena are not there, see {@link HandedReads}. */
  | (Asked &
      Loadable & {
        readonly type: 'read'
        /** The client's descriptor, as long as the request is not answered. */
        readonly fd: number
        readonly offset: number
        readonly size: number
        /** The kernel fills a copy of its own with the answer. */
        readonly fills: boolean
      })
  /** The same for pages that nobody waits for. */
  | (Loadable & { readonly type: 'readAhead'; readonly page: number; readonly count: number })
  /** Where a worker on a NUMA node has found pages in the arena: see cache/hit-samples.ts. */
  | { readonly type: 'sampled'; readonly node: number; readonly samples: Int32Array }
  /** The same of pages that were read where they lie, see {@link DirectHomes.sampled}. */
  | { readonly type: 'directSampled'; readonly node: number; readonly samples: Int32Array }
  | (Asked & { readonly type: 'findLock' | 'setLock'; readonly lock: LockRequest })
  /** A descriptor is being closed, and the client waits for its locks to be gone. */
  | (Asked & { readonly type: 'flush'; readonly key: string; readonly owner: string })
  /** A request that waits until somebody gives a lease back below, as it came from the kernel, by the worker's descriptor `fuseFd`. */
  | { readonly type: 'leased'; readonly fuseFd: number; readonly bytes: Uint8Array<ArrayBuffer> }
  /** A file system is full: homes that nobody uses are to go, see {@link Space}. */
  | { readonly type: 'makeSpace' }
  | { readonly type: 'released'; readonly key: string; readonly open: number }
  | { readonly type: 'interrupt'; readonly uniqueLow: number; readonly uniqueHigh: number }
  /** No inode uses the run map any more. */
  | { readonly type: 'unmap'; readonly map: number }
  | { readonly type: 'defect'; readonly worker: number; readonly opcode: number; readonly message: string }
  /** The worker is ready for requests. */
  | { readonly type: 'serving'; readonly worker: number }
  /** The connection has ended: unmounted, or aborted by hand, which leaves the mount behind. */
  | { readonly type: 'unmounted'; readonly worker: number; readonly aborted: boolean }

/** From the keeper to every worker, and to the watcher. */
export type ToWorker =
  | {
      readonly type: 'map'
      readonly map: number
      readonly runs: SharedArrayBuffer
      readonly homes: readonly HomeRef[]
      /** What {@link OwnPages} takes; absent where a file cannot change while it is open: read-only, and not watched. */
      readonly own?: SharedArrayBuffer
      /** Whose pages the runs are that lie in the arena. */
      readonly content?: ContentRef
      /** By number, the homes that are read where they lie; absent: none is. */
      readonly direct?: ReadonlyMap<number, DirectHome>
    }
  | { readonly type: 'unmap'; readonly map: number }

/** A home by number, and which of those that had the number. */
export interface HomeRef {
  readonly number: number
  readonly generation: number
}

/** To the notifier: tell the kernel to drop what it caches of an inode (offset < 0: attributes only). */
export interface Invalidate {
  readonly nodeid: number
  readonly offset: number
}
