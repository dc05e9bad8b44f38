/** A worker thread: its own descriptor of the connection, its own buffers, the shared tables. */
import { parentPort, workerData } from 'node:worker_threads'
import { DeviceChannel } from '../fuse/channel.ts'
import { OPCODE_ROWS, type OpcodeName } from '../fuse/protocol.ts'
import { type Handler, Server } from '../fuse/server.ts'
import { syncfs } from '../linux/change.ts'
import { ERRNO } from '../linux/errors.ts'
import { Credentials } from './credentials.ts'
import { Crew } from './crew.ts'
import { FilesystemTable } from './filesystem-table.ts'
import { attributeHandlers } from './handlers/attributes.ts'
import { changingHandlers } from './handlers/changing.ts'
import { type Context, newStat } from './handlers/context.ts'
import { creatingHandlers } from './handlers/creating.ts'
import { directoryHandlers } from './handlers/directories.ts'
import { lockingHandlers } from './handlers/locking.ts'
import { readingHandlers } from './handlers/reading.ts'
import { refusalHandlers } from './handlers/refusals.ts'
import { writingHandlers } from './handlers/writing.ts'
import { HomeTable } from './home-table.ts'
import { InodeFiles } from './inode-files.ts'
import { InodeTable } from './inode-table.ts'
import { LockCounts } from './locks/lock-counts.ts'
import { LookupAdvice } from './lookup-advice.ts'
import { Opening } from './opening.ts'
import { RequestStats } from './request-stats.ts'
import { RunMaps } from './run-maps.ts'
import { ServingState } from './serving.ts'
import type { ToKeeper, WorkerStart } from './shared-state.ts'
import { retryWithSpace, Space } from './space.ts'
import { WarmFiles } from './warm-files.ts'

/** How often a parked worker reads its messages. */
const DRAIN_MS = 5000

const start = workerData as WorkerStart
const { worker, fuseFd, shared, notifier } = start
if (parentPort === null) throw new Error('worker.ts runs as a worker thread only')
const port = parentPort

const inodes = new InodeTable(shared.inodes)
const filesystems = new FilesystemTable(shared.filesystems)
const homes = new HomeTable(shared.homes)
const serving = new ServingState(inodes)
const maps = new RunMaps(port)
const locks = new LockCounts(shared.locks)
const space = new Space(shared.space)
const warm = new WarmFiles(shared.warm, inodes, fuseFd)
const stats = new RequestStats(shared.stats)
const crew = new Crew(shared.crew)
const tellKeeper = (message: ToKeeper) => {
  crew.asked()
  port.postMessage(message)
}

const context: Context = {
  worker,
  fuseFd,
  inodes,
  filesystems,
  homes,
  locks,
  serving,
  maps,
  stats,
  tellKeeper,
  files: new InodeFiles(inodes, filesystems, shared.source, shared.options.descriptorsLimit),
  opening: new Opening(inodes, serving, homes, shared.options, maps.asMaps(tellKeeper), locks, warm, fuseFd),
  warm,
  content: shared.content,
  source: shared.source,
  options: shared.options,
  invalidate: (message) => notifier.postMessage(message),
  advice: new LookupAdvice(),
  stat: newStat(),
}

const byName: Partial<Record<OpcodeName, Handler>> = {
  ...refusalHandlers(context),
  ...attributeHandlers(context),
  ...directoryHandlers(context),
  ...readingHandlers(context),
  ...(shared.options.writable ? changeHandlers() : {}),
}
const handlers: (Handler | undefined)[] = []
for (const row of OPCODE_ROWS) handlers[row.code] = byName[row.name]

function changeHandlers(): Partial<Record<OpcodeName, Handler>> {
  const credentials = new Credentials(shared.options.privileged)
  const handlers = {
    ...creatingHandlers(context, credentials),
    ...changingHandlers(context, credentials),
    ...writingHandlers(context, credentials),
  }
  const makeSpace = () => {
    const isMade = space.wait(() => tellKeeper({ type: 'makeSpace' }))
    // btrfs gives freed blocks out again when the transaction has ended that freed them.
    if (isMade) syncfs(shared.source.rootFd)
    return isMade
  }
  const retried = Object.entries(handlers).map(([name, handler]) => [name, retryWithSpace(handler, makeSpace)] as const)
  return { ...Object.fromEntries(retried), ...lockingHandlers(context) }
}

const server = new Server(
  handlers,
  {
    began: (uniqueLow, uniqueHigh) => crew.began(worker, uniqueLow, uniqueHigh),
    ended(opcode, error, seconds) {
      stats.record(worker, opcode, error, seconds)
      crew.ended(worker)
    },
    failed(opcode, error) {
      stats.addFailure(worker)
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
      tellKeeper({ type: 'defect', worker, opcode, message })
    },
  },
  shared.options.maxReadBytes,
)

// Messages that are not read pile up, with the run maps that they hold: so they are, before each sleep, and now and then while parked.
const channel = new DeviceChannel(fuseFd, shared.options.spins, () => {
  maps.drain()
  return crew.parkUnlessLast(worker)
})

tellKeeper({ type: 'serving', worker })
let served = 0
for (; served >= 0; served = server.serveOne(channel)) {
  // Parked, or woken for nothing: the crew decides who goes on.
  if (served === 0) while (!crew.waitUntilCalled(worker, DRAIN_MS)) maps.drain()
}
tellKeeper({ type: 'unmounted', worker, aborted: served === -ERRNO.ECONNABORTED })
