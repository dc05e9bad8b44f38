/** What a mount tells about itself: gathered when asked, from counters that are kept anyway. */
import fs from 'node:fs'
import { PAGE_BYTES } from '../cache/entry.ts'
import type { Session } from '../fuse/init.ts'
import { OPCODE_ROWS } from '../fuse/protocol.ts'
import type { FamiliesStatistics } from '../homes/families.ts'
import type { Home } from '../homes/home.ts'
import type { LinuxHome } from '../homes/linux-home-storage.ts'
import type { NumaStats } from '../library/near-memory.ts'
import type { NumaMode } from '../library/numa.ts'
import { CacheStat } from '../linux/cachestat.ts'
import type { ContentCache, ContentStatistics } from './content/content-cache.ts'
import type { HandedReads } from './content/handed-reads.ts'
import type { MountArena } from './content/mount-arena.ts'
import type { DirectHomes, DirectStatistics } from './dax/direct-homes.ts'
import { FilesInHomes } from './files-in-homes.ts'
import type { GrantsDoor } from './grants/grants-door.ts'
import type { GrantsReport } from './grants/mount-grants.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import { findMount } from './mounting.ts'
import type { PlacementStats } from './near/placement-stats.ts'
import { HISTOGRAM_BUCKETS, type OpcodeStats, type RequestStats } from './request-stats.ts'
import type { SharedHomes } from './shared-homes.ts'
import type { ServingStart, Sharing } from './shared-state.ts'
import type { MountKeeper } from './sharing.ts'
import { SERVED, ServingState } from './slot-serving.ts'
import type { OpenedSource } from './source.ts'
import type { Threads } from './threads.ts'
import type { WatchStats } from './watch-stats.ts'

/** The answer to `samepage status --json`, schema 1. Sizes in bytes, times in seconds. */
export interface StatusReport {
  readonly schema: 1
  readonly source: string
  /** Where it is mounted now; where it was, once it is detached. */
  readonly mountpoint: string
  readonly version: string
  readonly pid: number
  readonly uptimeSeconds: number
  readonly sharing: Sharing
  readonly passthrough: boolean
  readonly fuseMinor: number
  readonly homes: FamiliesStatistics & {
    readonly inUse: number
    /** Page cache of all homes: shared pages, each held once. */
    readonly cachedBytes: number
    /** What the same pages would take, were each file that the kernel knows, and that lies in them, cached on its own. */
    readonly nativeBytes: number
    /** Blocks on disk that homes keep and no file has any more. */
    readonly pinnedBytes: number
  }
  readonly files: {
    readonly known: number
    readonly open: number
    readonly private: number
    readonly pristine: number
    readonly mapped: number
    /** Files of which the kernel made its own copy for a mapping (mmap, exec). */
    readonly copied: number
  }
  readonly bytesRead: {
    readonly fromHomes: number
    readonly fromFiles: number
    readonly copied: number
    /** Absent where there is none. */
    readonly fromArena?: number
  }
  /** The arena behind the mount, and what is merged there; absent where nothing is. */
  readonly merge?: ContentStatistics
  /** Homes on DAX; absent without `--dax`, and where it says `cache`. */
  readonly dax?: DaxReport
  readonly requests: readonly (RequestSummary & { readonly name: string })[]
  /** Changes below the mount; absent where they are not watched for. */
  readonly watch?: {
    /** Anywhere on the source's file system, by others than the daemon. */
    readonly events: number
    /** Times that the queue ran over, and everything was looked at anew. */
    readonly overflows: number
    /** Names and inodes that the kernel was told to ask about again. */
    readonly notices: number
  }
  /** Where pages of the arena lie, and are read from; absent without `--numa`, and on a machine of one node. */
  readonly numa?: NumaReport
  /** Where the pages of homes lie; absent without `--node`. All but `node` in pages, since the mount was made. */
  readonly near?: {
    readonly node: number
    /** That the kernel was asked about. */
    readonly looked: number
    /** Of them, on another node. */
    readonly elsewhere: number
    /** Of those, moved. */
    readonly moved: number
    /** Read before anybody asked for them. */
    readonly readAhead: number
  }
  /** Files that are exclusively somebody's; absent where the mount cannot be written to. */
  readonly grants?: GrantsReport
  readonly memory: { readonly residentBytes: number }
  readonly workers: { readonly count: number; readonly restarts: number; readonly failures: number }
}

type NumaReport = NumaStats & {
  readonly mode: NumaMode
  /** Of what workers have read from the arena: from memory of another node than they were on. */
  readonly bytesReadFar: number
}

export type DaxReport = DirectStatistics & {
  /** Pages that were read where they lie, each time counted. */
  readonly directHits: number
}

interface RequestSummary {
  readonly count: number
  readonly errors: number
  readonly meanSeconds: number
  readonly p50Seconds: number
  readonly p99Seconds: number
}

export interface StatusParts {
  readonly start: ServingStart
  readonly source: OpenedSource
  readonly session: Session
  readonly inodes: InodeTable
  readonly homes: SharedHomes
  readonly keeper: MountKeeper
  readonly stats: RequestStats
  readonly watch: Readonly<WatchStats> | undefined
  readonly placement: Readonly<PlacementStats> | undefined
  /** Undefined where there is none. */
  readonly arena: MountArena | undefined
  /** Undefined where nothing is merged, as {@link reads}. */
  readonly contents: ContentCache | undefined
  readonly reads: HandedReads | undefined
  /** Undefined where files on DAX are read as any others. */
  readonly direct: DirectHomes | undefined
  readonly threads: Threads
  /** Undefined where the mount cannot be written to. */
  readonly grants: GrantsDoor | undefined
}

interface CachedHome {
  readonly home: Home<LinuxHome>
  readonly cachedBytes: number
}

export class Status {
  readonly #parts: StatusParts
  readonly resident = new ResidentMemory()
  readonly #cacheStat = new CacheStat()
  readonly #filesInHomes: FilesInHomes
  #mountedAt: string

  constructor(parts: StatusParts) {
    this.#parts = parts
    const { start, inodes, keeper } = parts
    this.#filesInHomes = new FilesInHomes(inodes, (map) => keeper.maps.get(map))
    this.#mountedAt = start.mountpoint
  }

  /** Everything, exact as of now; reads the extents of all homes. */
  async report(): Promise<StatusReport> {
    const { start, source, session, keeper, watch, contents, threads, stats, grants } = this.#parts
    const near = this.near()
    const numa = this.numa()
    const dax = this.dax()
    const pinnedBytes = await keeper.families.pinnedBytes()
    const cached = this.cachedHomes()
    return {
      schema: 1,
      source: start.sourcePath,
      mountpoint: this.#mountpoint(),
      version: start.version,
      pid: process.pid,
      uptimeSeconds: (Date.now() - start.startedAtMs) / 1000,
      sharing: source.sharing,
      passthrough: session.passthrough,
      fuseMinor: session.minor,
      homes: {
        ...keeper.families.statistics(),
        inUse: this.homesInUse(),
        cachedBytes: cachedBytesOf(cached),
        nativeBytes: this.nativeBytes(cached),
        pinnedBytes,
      },
      files: this.files(),
      bytesRead: this.bytesRead(),
      ...(contents === undefined ? {} : { merge: contents.statistics() }),
      ...(dax === undefined ? {} : { dax }),
      requests: this.requests(),
      ...(watch === undefined
        ? {}
        : { watch: { events: watch.events, overflows: watch.overflows, notices: watch.notices } }),
      ...(numa === undefined ? {} : { numa }),
      ...(near === undefined ? {} : { near }),
      ...(grants === undefined ? {} : { grants: await grants.report() }),
      memory: { residentBytes: this.resident.bytes },
      workers: { count: start.workers, restarts: threads.restarts, failures: stats.failures },
    }
  }

  /** As known from before where the list of mounts cannot be read: all descriptors are in use. */
  #mountpoint(): string {
    try {
      this.#mountedAt = findMount(this.#parts.start.mount)?.mountpoint ?? this.#mountedAt
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error
    }
    return this.#mountedAt
  }

  near(): StatusReport['near'] {
    const { start, placement } = this.#parts
    if (start.near === undefined || placement === undefined) return undefined
    const { looked, elsewhere, moved, read } = placement
    return { node: start.near.node, looked, elsewhere, moved, readAhead: read }
  }

  numa(): NumaReport | undefined {
    const numa = this.#parts.arena?.numaStatistics()
    return numa && { ...numa, bytesReadFar: this.#parts.stats.bytesFromAfar }
  }

  dax(): DaxReport | undefined {
    const { direct, stats } = this.#parts
    return direct && { ...direct.statistics(), directHits: stats.pagesDirect }
  }

  files(): StatusReport['files'] {
    const { inodes } = this.#parts
    const serving = new ServingState(inodes)
    const counts = { known: 0, open: 0, private: 0, pristine: 0, mapped: 0, copied: 0 }
    for (let slot = 0; slot < inodes.highWater; slot++) {
      if (!inodes.isInUse(slot)) continue
      counts.known++
      const kind = serving.kind(slot)
      if (kind === SERVED.UNDECIDED) continue
      if (inodes.get(slot, SLOT.OPENS) > 0) counts.open++
      if (inodes.get(slot, SLOT.COPIED) > 0) counts.copied++
      if (kind === SERVED.PRIVATE) counts.private++
      else if (kind === SERVED.PRISTINE) counts.pristine++
      else counts.mapped++
    }
    return counts
  }

  bytesRead(): StatusReport['bytesRead'] {
    const { stats, reads, arena } = this.#parts
    const handed = reads?.bytes ?? { fromFiles: 0, fromArena: 0 }
    return {
      fromHomes: stats.bytesFromHomes,
      fromFiles: stats.bytesFromFiles + handed.fromFiles,
      copied: stats.bytesCopied,
      ...(arena === undefined ? {} : { fromArena: stats.bytesFromArena + handed.fromArena }),
    }
  }

  homesInUse(): number {
    const { homes, keeper } = this.#parts
    return keeper.families.homes().filter(({ number }) => homes.users(number) > 0).length
  }

  /** Page cache of each home now. The kernel goes through all of it to tell. */
  cachedHomes(): readonly CachedHome[] {
    const homes = this.#parts.keeper.families.homes()
    return homes.map((home) => {
      const isTold = this.#cacheStat.read(home.file.fd) === 0
      return { home, cachedBytes: isTold ? this.#cacheStat.cached * PAGE_BYTES : 0 }
    })
  }

  /** What that stands for, where all files in a home have been read alike; at least once what is there. */
  nativeBytes(cached: readonly CachedHome[]): number {
    const counts = this.#filesInHomes.count(cached.map(({ home }) => home))
    return Math.round(sum(cached, ({ home, cachedBytes }) => cachedBytes * Math.max(1, counts.get(home.number)!)))
  }

  requests(): (RequestSummary & { name: string })[] {
    return OPCODE_ROWS.map(({ code, name }) => ({ name, ...summary(this.#parts.stats.opcode(code)) })).filter(
      ({ count }) => count > 0,
    )
  }
}

function summary(stats: OpcodeStats): RequestSummary {
  return {
    count: stats.count,
    errors: stats.errors,
    meanSeconds: stats.count === 0 ? 0 : stats.seconds / stats.count,
    p50Seconds: quantile(stats, 0.5),
    p99Seconds: quantile(stats, 0.99),
  }
}

/** The upper end of the power of two that holds the quantile: right to a factor of two. */
function quantile({ count, histogram }: OpcodeStats, q: number): number {
  let seen = 0
  for (let i = 0; i < HISTOGRAM_BUCKETS; i++) {
    seen += histogram[i]!
    if (seen >= count * q && seen > 0) return 2 ** i / 1e6
  }
  return 0
}

export const cachedBytesOf = (homes: readonly CachedHome[]): number => sum(homes, ({ cachedBytes }) => cachedBytes)

function sum(homes: readonly CachedHome[], of: (home: CachedHome) => number): number {
  return homes.reduce((bytes, home) => bytes + of(home), 0)
}

/** Memory of this process that is not shared with others: what it costs. Told also when no descriptor is left. */
class ResidentMemory {
  readonly #fd = fs.openSync('/proc/self/smaps_rollup', 'r')
  readonly #text = Buffer.alloc(4096)

  get bytes(): number {
    const length = fs.readSync(this.#fd, this.#text, 0, this.#text.length, 0)
    const line = /^Pss:\s+(\d+) kB$/m.exec(this.#text.toString('latin1', 0, length))
    return line === null ? process.memoryUsage.rss() : Number(line[1]) * 1024
  }
}
