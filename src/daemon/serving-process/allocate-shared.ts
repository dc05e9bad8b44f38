/** The tables that all threads of the serving process share, and what they all know of the mount. */
import type { Session } from '../../fuse/init.ts'
import { keepsForRoot, movesCtime } from '../../linux/filesystem-kinds.ts'
import { Crew } from '../crew.ts'
import { FilesystemTable } from '../filesystem-table.ts'
import { GrantedRanges } from '../grants/granted-ranges.ts'
import { InodeTable } from '../inode-table.ts'
import { LockCounts } from '../locks/lock-counts.ts'
import { RequestStats } from '../request-stats.ts'
import { allocateCounters } from '../shared-counters.ts'
import { SharedHomes } from '../shared-homes.ts'
import type { ServingOptions, ServingStart, SharedState } from '../shared-state.ts'
import type { OpenedSource } from '../source.ts'
import { Space } from '../space.ts'
import { ToldStale } from '../told-stale.ts'
import { WarmFiles } from '../warm-files.ts'
import { WATCH_COUNTERS } from '../watch-stats.ts'
import type { OwnMemory } from './own-memory.ts'
import { believableSeconds } from './session.ts'

/** Inodes that the kernel may know at once. Address space is reserved for them, memory used as they come. */
const INODES_MAX = 1 << 23
const FILESYSTEMS_MAX = 1 << 14

export interface MountParts {
  readonly start: ServingStart
  readonly source: OpenedSource
  readonly session: Session
  readonly memory: OwnMemory
  /** How many descriptors the process may have. */
  readonly descriptorsLimit: number
}

export function allocateShared(parts: MountParts): SharedState {
  const { start, source, memory, descriptorsLimit } = parts
  return {
    inodes: InodeTable.allocate(INODES_MAX),
    filesystems: FilesystemTable.allocate(FILESYSTEMS_MAX),
    homes: SharedHomes.allocate(homesMax(parts) * 2),
    crew: Crew.allocate(start.workers),
    // And for the threads of grants and of leases.
    stats: RequestStats.allocate(start.workers + 2),
    locks: LockCounts.allocate(),
    mutexes: new SharedArrayBuffer((start.workers + 3) * 4),
    toldStale: ToldStale.allocate(),
    space: Space.allocate(),
    warm: WarmFiles.allocate(descriptorsLimit),
    granted: GrantedRanges.allocate(),
    watch: allocateCounters(WATCH_COUNTERS),
    ...(memory.arena === undefined ? {} : { arena: memory.arena.shared }),
    source: source.source,
    options: servingOptions(parts),
  }
}

/** Homes that there may be at once: each has a descriptor. */
export function homesMax({ start, descriptorsLimit }: MountParts): number {
  return Math.min(start.homesMax, Math.floor(descriptorsLimit / 4))
}

/** What becomes here, with this kernel and this file system, of what the user asked for. */
function servingOptions({ start, source, session, memory, descriptorsLimit }: MountParts): ServingOptions {
  const { kind, isFrozen } = source.filesystem
  return {
    timeoutSeconds: believableSeconds(start, session),
    passthrough: session.passthrough,
    directIoMmap: session.directIoMmap,
    setxattrExt: session.setxattrExt,
    divergedCached: start.divergedCached,
    strict: start.strict && !isFrozen,
    maxReadBytes: session.maxReadBytes,
    writable: start.writable,
    watch: start.watch,
    privileged: start.privileged,
    // What is crossed into may be of any kind.
    keepsForRoot: start.privileged && (start.cross || keepsForRoot(kind)),
    // An empty file has nothing to share.
    minShareBytes: Math.max(start.minShareBytes, 1),
    minWriteShareBytes: start.minWriteShareBytes,
    sharing: start.homes && source.sharing.possible,
    merge: memory.contents !== undefined,
    keepsLists: movesCtime(kind),
    ...(start.dax === undefined ? {} : { dax: start.dax }),
    descriptorsLimit,
    spins: start.spins,
  }
}
