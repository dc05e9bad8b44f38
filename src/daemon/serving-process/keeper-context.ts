/** What the keeper's thread works with, made from what all threads share: its view of the tables, and who answers what workers hand over. */
import { statFd } from '../../linux/mount-id.ts'
import { Statx } from '../../linux/statx.ts'
import { HandedReads } from '../content/handed-reads.ts'
import { FilesystemTable } from '../filesystem-table.ts'
import { GrantedRanges } from '../grants/granted-ranges.ts'
import { InodeFiles } from '../inode-files.ts'
import { InodeTable } from '../inode-table.ts'
import { LockCounts } from '../locks/lock-counts.ts'
import { LockRequests } from '../locks/lock-requests.ts'
import { LinuxLocksBelow } from '../locks/locks-below.ts'
import { SharedHomes } from '../shared-homes.ts'
import type { SharedState, ToWorker } from '../shared-state.ts'
import { type MountKeeper, openSharing } from '../sharing.ts'
import { ServingState } from '../slot-serving.ts'
import { Space } from '../space.ts'
import { ToldStale } from '../told-stale.ts'
import { WarmFiles } from '../warm-files.ts'
import { homesMax, type MountParts } from './allocate-shared.ts'
import type { OwnMemory } from './own-memory.ts'

export interface KeeperContext {
  readonly shared: SharedState
  readonly memory: OwnMemory
  readonly inodes: InodeTable
  readonly homes: SharedHomes
  readonly files: InodeFiles
  readonly warm: WarmFiles
  readonly toldStale: ToldStale
  readonly space: Space
  readonly keeper: MountKeeper
  /** Undefined where nothing is merged. */
  readonly reads: HandedReads | undefined
  readonly lockRequests: LockRequests
}

/** The source's root is an inode from then on. `toWorkers`: to every thread that knows run maps. */
export function keeperContext(
  parts: MountParts,
  shared: SharedState,
  toWorkers: (message: ToWorker) => void,
): KeeperContext {
  const { start, source, memory } = parts
  const inodes = new InodeTable(shared.inodes)
  const filesystems = new FilesystemTable(shared.filesystems)
  const serving = new ServingState(inodes)
  const homes = new SharedHomes(shared.homes)
  const locks = new LockCounts(shared.locks)
  const warm = new WarmFiles(shared.warm, inodes, start.fuseFd)
  const files = new InodeFiles(inodes, filesystems, shared.source, shared.options.descriptorsLimit)
  const root = new Statx()
  statFd(root, shared.source.rootFd)
  files.addRoot(root, shared.source.handleMountFd >= 0)

  const keeper = openSharing({
    inodes,
    filesystems,
    serving,
    homes,
    locks,
    warm,
    granted: new GrantedRanges(shared.granted, inodes),
    options: shared.options,
    start,
    source,
    homesMax: homesMax(parts),
    fuseFd: start.fuseFd,
    contents: memory.contents,
    opened: memory.arena?.opened,
    direct: memory.direct,
    toWorkers,
  })
  return {
    shared,
    memory,
    inodes,
    homes,
    files,
    warm,
    toldStale: new ToldStale(shared.toldStale),
    space: new Space(shared.space),
    keeper,
    reads: handedReads(memory, inodes, serving, keeper),
    lockRequests: new LockRequests(locksBelow(files, shared.options.descriptorsLimit), locks),
  }
}

/** A quarter of all descriptors, as homes have; fewer where clients have taken almost all by open files. */
function locksBelow(files: InodeFiles, descriptorsLimit: number): LinuxLocksBelow {
  return new LinuxLocksBelow((slot, flags) => files.openForClient(slot, flags), Math.floor(descriptorsLimit / 4))
}

function handedReads(
  { arena, contents }: OwnMemory,
  inodes: InodeTable,
  serving: ServingState,
  keeper: MountKeeper,
): HandedReads | undefined {
  if (arena === undefined || contents === undefined) return undefined
  return new HandedReads({
    arena: arena.shared,
    contents,
    inodes,
    serving,
    contentOf: (map) => keeper.maps.contentOf(map),
    failed(error) {
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
      process.stderr.write(`samepage: reading into memory failed: ${why}\n`)
    },
  })
}

/** Gives back what nobody needs, and tells the workers who wait for that. Never rejects: nobody waits for it here. */
export async function makeSpace({ warm, keeper, space }: KeeperContext): Promise<void> {
  try {
    await warm.coolAll()
    await keeper.families.dropUnused()
  } catch (error) {
    process.stderr.write(`samepage: making space failed: ${String(error)}\n`)
  } finally {
    space.made()
  }
}
