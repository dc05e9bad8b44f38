/** A worker thread: its own descriptor of the connection, its own buffers, the shared tables. */
import { parentPort, workerData } from 'node:worker_threads'
import { DeviceChannel } from '../fuse/channel.ts'
import { OPCODE_ROWS } from '../fuse/protocol.ts'
import { type Handler, Server } from '../fuse/server.ts'
import { ERRNO } from '../linux/errors.ts'
import { Crew } from './crew.ts'
import { FilesystemTable } from './filesystem-table.ts'
import { GrantedRanges } from './grants/granted-ranges.ts'
import { heldBack } from './grants/held-back.ts'
import { allHandlers } from './handlers/all.ts'
import { type Context, newStat } from './handlers/context.ts'
import { HomeTable } from './home-table.ts'
import { InodeFiles } from './inode-files.ts'
import { InodeTable } from './inode-table.ts'
import { LockCounts } from './locks/lock-counts.ts'
import { LookupAdvice } from './lookup-advice.ts'
import { Opening } from './opening.ts'
import { RequestStats } from './request-stats.ts'
import { RunMaps } from './run-maps.ts'
import { ServingState } from './serving.ts'
import type { ToGrants, ToKeeper, WorkerStart } from './shared-state.ts'
import { Space } from './space.ts'
import { WarmFiles } from './warm-files.ts'

/** How often a parked worker reads its messages. */
const DRAIN_MS = 5000

const start = workerData as WorkerStart
const { worker, fuseFd, shared, notifier, grants } = start
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
const granted = new GrantedRanges(shared.granted, inodes)
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
  opening: new Opening(inodes, serving, homes, shared.options, maps.asMaps(tellKeeper), locks, warm, granted, fuseFd),
  warm,
  content: shared.content,
  granted,
  grants: (message) => grants.postMessage(message),
  splices: true,
  source: shared.source,
  options: shared.options,
  invalidate: (message) => notifier.postMessage(message),
  advice: new LookupAdvice(),
  stat: newStat(),
}

const byName = heldBack(allHandlers(context, space), granted, (request) => {
  const bytes = request.bytes.slice(0, request.length)
  grants.postMessage({ type: 'request', fuseFd, bytes } satisfies ToGrants, [bytes.buffer])
})
const handlers: (Handler | undefined)[] = []
for (const row of OPCODE_ROWS) handlers[row.code] = byName[row.name]

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
