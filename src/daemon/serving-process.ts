/**
 * The serving process: agrees with the kernel on what both speak, starts the threads, and is the keeper. Its parent, the
 * supervisor, owns the mount and passes /dev/fuse and the source directory down as descriptors.
 */
import os from 'node:os'
import type { Session } from '../fuse/init.ts'
import { MINOR_VERSION_EPOCH } from '../fuse/protocol.ts'
import { linuxNative } from '../library/linux-native.ts'
import { ERRNO } from '../linux/errors.ts'
import { keepsForRoot, movesCtime } from '../linux/filesystem-kinds.ts'
import { backingClose, backingOpen } from '../linux/fuse-device.ts'
import { giveUpResources } from '../linux/identity.ts'
import { exitNow } from '../linux/native.ts'
import { raiseDescriptorLimit } from '../linux/rlimit.ts'
import { Statx } from '../linux/statx.ts'
import { ContentCache } from './content/content-cache.ts'
import { HandedReads } from './content/handed-reads.ts'
import { MountArena } from './content/mount-arena.ts'
import { startControl } from './control.ts'
import { Crew } from './crew.ts'
import { DirectHomes } from './dax/direct-homes.ts'
import { FilesystemTable } from './filesystem-table.ts'
import { GrantedRanges } from './grants/granted-ranges.ts'
import { GrantsDoor } from './grants/grants-door.ts'
import { HomeTable } from './home-table.ts'
import { InodeFiles } from './inode-files.ts'
import { InodeTable } from './inode-table.ts'
import { LockCounts } from './locks/lock-counts.ts'
import { LockRequests } from './locks/lock-requests.ts'
import { LinuxLocksBelow } from './locks/locks-below.ts'
import { deviceOf } from './mounting.ts'
import { PlacementStats } from './near/placement-stats.ts'
import type { PlacerStart } from './near/placer.ts'
import { negotiate } from './negotiate.ts'
import { Pruning } from './pruning.ts'
import { RequestStats } from './request-stats.ts'
import { ServingState } from './serving.ts'
import type { FromServing, ServingStart, SharedState } from './shared-state.ts'
import { openSharing } from './sharing.ts'
import { type OpenedSource, openSource } from './source.ts'
import { isDiskNearlyFull, Space } from './space.ts'
import { Status } from './status.ts'
import { Threads } from './threads.ts'
import { WARM_SWEEP_MS, WarmFiles } from './warm-files.ts'
import { openWatch, whyNotWatched } from './watch.ts'
import { WatchStats } from './watch-stats.ts'

/** Inodes that the kernel may know at once. Address space is reserved for them, memory used as they come. */
const INODES_MAX = 1 << 23
const FILESYSTEMS_MAX = 1 << 14
const SWEEP_MS = 5000
/** Between two looks at where the pages of homes lie. */
const PLACING_MS = 2000

async function main(): Promise<void> {
  const start = JSON.parse(process.argv[2] ?? '{}') as ServingStart
  const descriptorsLimit = raiseDescriptorLimit()
  // Before any thread starts: what clients write is written by them, and within the limits that are the clients'.
  giveUpResources()
  const source = openSource(start)
  const watchFd = start.watch ? watchSource(source) : -1
  const session = negotiate(start.fuseFd, {
    passthrough: start.passthrough && start.privileged,
    posixAcl: true,
    writable: start.writable,
    maxReadBytes: start.maxReadBytes,
  })
  session.passthrough &&= mayRegister(start.fuseFd, start.sourceFd)

  const workers = start.workers
  const homesMax = Math.min(start.homesMax, Math.floor(descriptorsLimit / 4))
  if (start.merge !== undefined) checkMergeable(start, source)
  const arena = start.arena && new MountArena(start.arena)
  const contents = arena && start.merge && (await ContentCache.create(arena, start.merge))
  const direct = start.dax && new DirectHomes(start.dax, linuxNative, arena)
  const shared: SharedState = {
    inodes: InodeTable.allocate(INODES_MAX),
    filesystems: FilesystemTable.allocate(FILESYSTEMS_MAX),
    homes: HomeTable.allocate(homesMax * 2),
    crew: Crew.allocate(workers),
    // And for the threads of grants and of leases.
    stats: RequestStats.allocate(workers + 2),
    locks: LockCounts.allocate(),
    space: Space.allocate(),
    warm: WarmFiles.allocate(descriptorsLimit),
    granted: GrantedRanges.allocate(),
    watch: WatchStats.allocate(),
    ...(arena === undefined ? {} : { arena: arena.shared }),
    source: source.source,
    options: {
      timeoutSeconds: believableSeconds(start, session),
      passthrough: session.passthrough,
      directIoMmap: session.directIoMmap,
      divergedCached: start.divergedCached,
      strict: start.strict && !source.filesystem.isFrozen,
      maxReadBytes: session.maxReadBytes,
      writable: start.writable,
      watch: start.watch,
      privileged: start.privileged,
      keepsForRoot: start.privileged && keepsForRoot(source.filesystem.kind),
      minShareBytes: start.minShareBytes,
      minWriteShareBytes: start.minWriteShareBytes,
      sharing: start.homes && source.sharing.possible,
      merge: contents !== undefined,
      keepsLists: movesCtime(source.filesystem.kind),
      ...(start.dax === undefined ? {} : { dax: start.dax }),
      descriptorsLimit,
      spins: start.spins,
    },
  }
  const inodes = new InodeTable(shared.inodes)
  const filesystems = new FilesystemTable(shared.filesystems)
  const serving = new ServingState(inodes)
  const homes = new HomeTable(shared.homes)
  const locks = new LockCounts(shared.locks)
  const warm = new WarmFiles(shared.warm, inodes, start.fuseFd)
  const files = new InodeFiles(inodes, filesystems, shared.source, shared.options.descriptorsLimit)
  const root = new Statx()
  root.ofFd(shared.source.rootFd)
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
    homesMax,
    fuseFd: start.fuseFd,
    contents,
    opened: arena?.opened,
    direct,
    toWorkers: (message) => threads.toWorkers(message),
  })
  const reads =
    arena &&
    contents &&
    new HandedReads({
      arena: arena.shared,
      contents,
      inodes,
      serving,
      contentOf: (map) => keeper.contentOf(map),
      failed(error) {
        const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
        process.stderr.write(`samepage: reading into memory failed: ${why}\n`)
      },
    })
  const space = new Space(shared.space)
  const lockRequests = new LockRequests(new LinuxLocksBelow((slot, flags) => files.open(slot, flags)), locks)
  const monitor = {
    parallel: Math.min(workers, os.availableParallelism()),
    hangMs: start.hangMs,
    mountpoint: start.mountpoint,
    device: deviceOf(start.mountpoint),
  }
  let workerIsReady = (): void => {}
  const firstWorker = new Promise<void>((resolve) => {
    workerIsReady = resolve
  })
  const placing = start.near === undefined ? undefined : placerStart(start.near, shared.homes)
  const threads = new Threads(start.fuseFd, watchFd, shared, monitor, placing, {
    message(message) {
      if (message.type === 'unmounted') void (message.aborted ? giveUp() : end())
      else if (message.type === 'serving') workerIsReady()
      else if (message.type === 'defect')
        process.stderr.write(`samepage: a request (opcode ${message.opcode}) failed: ${message.message}\n`)
      else if (message.type === 'makeSpace') void makeSpace()
      else if (message.type === 'leased') threads.waitForLease(message.fuseFd, message.bytes)
      else if (message.type === 'sampled') arena?.sampled(message.node, message.samples)
      else if (message.type === 'directSampled') direct?.sampled(message.node, message.samples)
      else {
        if (message.type === 'interrupt') threads.interruptLeased(message)
        if (!lockRequests.receive(message) && reads?.receive(message) !== true) keeper.receive(message)
      }
    },
    started: (post) => keeper.postMaps(post),
    died(thread, error) {
      const why = error instanceof Error ? error.message : String(error)
      process.stderr.write(`samepage: ${thread} died and was replaced: ${why}\n`)
    },
  })

  const { device } = monitor
  const grants = start.writable && device !== undefined ? new GrantsDoor(threads, device) : undefined
  const status = new Status({
    start,
    source,
    session,
    inodes,
    homes,
    keeper,
    stats: new RequestStats(shared.stats),
    watch: start.watch ? new WatchStats(shared.watch) : undefined,
    placement: placing === undefined ? undefined : new PlacementStats(placing.stats),
    arena,
    contents,
    reads,
    direct,
    threads,
    grants,
  })
  const control = await startControl(status, start)

  const pruning = new Pruning(inodes, (nodeids) => threads.prune(nodeids))
  let evictFrom = 0
  let sweeping = false
  const sweep = setInterval(() => {
    if (inodes.count > start.directoriesMax) evictFrom = files.evict(evictFrom, start.directoriesMax)
    pruning.sweep()
    if (sweeping) return
    sweeping = true
    keeper.sweep(isDiskNearlyFull(source.directoryFd)).then(
      () => {
        sweeping = false
      },
      (error: unknown) => {
        sweeping = false
        process.stderr.write(`samepage: sweeping homes failed: ${String(error)}\n`)
      },
    )
  }, SWEEP_MS)

  const coolIdle = setInterval(() => void warm.sweep(), WARM_SWEEP_MS)

  async function makeSpace(): Promise<void> {
    await warm.coolAll()
    await keeper.families.dropUnused().finally(() => space.made())
  }

  /** As if it had died: the supervisor then takes the mount away, in which nothing works any more. */
  function giveUp(): void {
    process.stderr.write('samepage: the connection was aborted\n')
    exitNow(1)
  }

  let ending = false
  async function end(): Promise<void> {
    if (ending) return
    ending = true
    clearInterval(sweep)
    clearInterval(coolIdle)
    control.close()
    grants?.close()
    await keeper.families.close()
    await contents?.close()
    arena?.close()
    tell({ type: 'ended' }, () => exitNow(0))
  }

  // Whoever waits for the ready line means that it answers.
  await firstWorker
  tell({ type: 'ready', passthrough: session.passthrough, minor: session.minor, sharing: source.sharing })
}

function placerStart(near: NonNullable<ServingStart['near']>, homes: SharedArrayBuffer): PlacerStart {
  return { ...near, homes, stats: PlacementStats.allocate(), intervalMs: PLACING_MS }
}

function watchSource({ source, directoryFd, filesystem }: OpenedSource): number {
  // Events name files by handle: without those nobody knows whose they are.
  const watchFd = source.handleMountFd < 0 ? -ERRNO.EPERM : openWatch(directoryFd)
  if (watchFd >= 0) return watchFd
  throw new Error(`--watch cannot be had on this ${filesystem.kind}: ${whyNotWatched(watchFd)}`)
}

/** Throws where no file of the source could be held in the arena for what it holds. */
function checkMergeable({ cross }: ServingStart, source: OpenedSource): void {
  const { kind } = source.filesystem
  if (cross || movesCtime(kind)) return
  throw new Error(
    `--merge cannot be had on ${kind}: it works on ext4, XFS and btrfs, where the time of change tells of every change`,
  )
}

/**
 * For how long the kernel may believe names and attributes. After an overflow of the watch's queue all names are to be looked up again: a kernel that
 * cannot be told so is not to believe them for long.
 */
function believableSeconds({ watch, timeoutSeconds }: ServingStart, { minor }: Session): number {
  return watch && minor < MINOR_VERSION_EPOCH ? Math.min(timeoutSeconds, 1) : timeoutSeconds
}

/** Whether files may be registered for passthrough: not by the root of a user namespace. */
function mayRegister(fuseFd: number, sourceFd: number): boolean {
  const result = backingOpen(fuseFd, sourceFd)
  if (result > 0) backingClose(fuseFd, result)
  // The kernel looks at privileges first; then it refuses a directory with another error.
  return result !== -ERRNO.EPERM
}

function tell(message: FromServing, then?: () => void): void {
  if (process.send === undefined) throw new Error('the serving process is started by the supervisor only')
  process.send(message, undefined, undefined, () => then?.())
}

// The terminal's Ctrl-C reaches the whole group: ending is the supervisor's decision, who unmounts first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
// Without its supervisor nobody would unmount: give up, so that clients get errors instead of waiting.
process.on('disconnect', () => exitNow(1))
main().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error)
  tell({ type: 'failed', message }, () => exitNow(1))
})
