/**
 * The serving process: agrees with the kernel on what both speak, starts the threads, and is the keeper. Its parent, the
 * supervisor, owns the mount and passes /dev/fuse and the source directory down as descriptors.
 */
import { giveUpResources } from '../linux/identity.ts'
import { exitNow } from '../linux/native.ts'
import { liftFileSizeLimit, raiseDescriptorLimit } from '../linux/rlimit.ts'
import { formatBytes } from '../util/human.ts'
import { ENDING_SIGNALS } from '../util/signals.ts'
import { startControl } from './control.ts'
import { GrantsDoor } from './grants/grants-door.ts'
import { PLACEMENT_COUNTERS } from './near/placement-stats.ts'
import type { PlacerStart } from './near/placer.ts'
import { RequestStats } from './request-stats.ts'
import { allocateShared } from './serving-process/allocate-shared.ts'
import { keeperContext } from './serving-process/keeper-context.ts'
import { closeOwnMemory, makeOwnMemory } from './serving-process/own-memory.ts'
import { startPeriodicWork } from './serving-process/periodic-work.ts'
import { agreeWithKernel } from './serving-process/session.ts'
import { startThreads } from './serving-process/started-threads.ts'
import { allocateCounters, attachCounters } from './shared-counters.ts'
import type { FromServing, ServingStart } from './shared-state.ts'
import { openSource } from './source.ts'
import { watchSource } from './watch.ts'
import { WATCH_COUNTERS } from './watch-stats.ts'

/** Between two looks at where the pages of homes lie. */
const PLACING_MS = 2000

/** From the start to the unmount. */
async function main(): Promise<void> {
  const start = JSON.parse(process.argv[2] ?? '{}') as ServingStart
  const descriptorsLimit = raiseDescriptorLimit()
  // The kernel holds each client to his own limit before it asks; the one of whoever mounted is none of theirs.
  const sizeLimit = liftFileSizeLimit()
  if (sizeLimit !== undefined && start.writable)
    process.stderr.write(
      `samepage: no file can be written beyond ${formatBytes(Number(sizeLimit))} through the mount: the hard limit of file sizes (ulimit -Hf) here\n`,
    )
  // Before any thread starts: what clients write is written by them, and within the limits that are the clients'.
  giveUpResources()
  const source = openSource(start)
  const watchFd = start.watch ? watchSource(source) : -1
  const session = agreeWithKernel(start)
  const memory = await makeOwnMemory(start, source)

  const parts = { start, source, session, memory, descriptorsLimit }
  const shared = allocateShared(parts)
  const context = keeperContext(parts, shared, (message) => threads.toWorkers(message))
  const placing = start.near && placerStart(start.near, shared.homes)
  const { threads, areServing, unmounted } = startThreads(context, { start, watchFd, placing })

  const grants = start.writable && start.mount.device !== '' ? new GrantsDoor(threads, start.mount.device) : undefined
  const { inodes, homes, keeper, reads } = context
  const control = await startControl({
    start,
    source,
    session,
    ...memory,
    inodes,
    homes,
    keeper,
    reads,
    threads,
    grants,
    stats: new RequestStats(shared.stats),
    watch: start.watch ? attachCounters(WATCH_COUNTERS, shared.watch) : undefined,
    placement: placing && attachCounters(PLACEMENT_COUNTERS, placing.stats),
  })
  const endPeriodicWork = startPeriodicWork(context, start, source, threads)

  // Whoever waits for the ready line means that it answers.
  await areServing
  tell({ type: 'ready', passthrough: session.passthrough, minor: session.minor, sharing: source.sharing })

  await unmounted
  endPeriodicWork()
  control.close()
  grants?.close()
  await keeper.families.close()
  await closeOwnMemory(memory)
  tell({ type: 'ended' }, () => exitNow(0))
}

function placerStart(near: NonNullable<ServingStart['near']>, homes: SharedArrayBuffer): PlacerStart {
  return { ...near, homes, stats: allocateCounters(PLACEMENT_COUNTERS), intervalMs: PLACING_MS }
}

function tell(message: FromServing, then?: () => void): void {
  if (process.send === undefined) throw new Error('the serving process is started by the supervisor only')
  process.send(message, undefined, undefined, () => then?.())
}

// Node's own way to end a process waits for its threads, and workers that receive from the kernel would keep it, with nobody left to serve them: all who use the mount would wait for ever.
// Rejections that nobody handles come here, too.
process.on('uncaughtException', (error) => {
  process.stderr.write(`samepage: the mount is given up: ${error instanceof Error ? error.stack : String(error)}\n`)
  exitNow(1)
})
// The terminal's Ctrl-C reaches the whole group: ending is the supervisor's decision, who unmounts first.
for (const signal of ENDING_SIGNALS) process.on(signal, () => {})
// Without its supervisor nobody would unmount: give up, so that clients get errors instead of waiting.
process.on('disconnect', () => exitNow(1))
main().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error)
  tell({ type: 'failed', message }, () => exitNow(1))
})
