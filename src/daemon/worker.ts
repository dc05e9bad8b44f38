/** A worker thread: its own descriptor of the connection, its own buffers, the shared tables. */
import { parentPort, workerData } from 'node:worker_threads'
import { DeviceChannel } from '../fuse/channel.ts'
import { Server } from '../fuse/server.ts'
import { ERRNO } from '../linux/errors.ts'
import { handOver } from './grants/handed-over.ts'
import { heldBack } from './grants/held-back.ts'
import { allHandlers } from './handlers/all.ts'
import { waitingForLeases } from './handlers/leased.ts'
import { byOpcode, reportDefect, threadContext } from './handlers/thread-context.ts'
import type { WorkerStart } from './shared-state.ts'

/** How often a parked worker reads its messages. */
const DRAIN_MS = 5000

const start = workerData as WorkerStart
const { worker, fuseFd, shared, request, notifier, grants } = start
if (parentPort === null) throw new Error('worker.ts runs as a worker thread only')

const { context, crew, space } = threadContext(shared, parentPort, {
  worker,
  fuseFd,
  arena: shared.arena,
  dax: shared.options.dax,
  grants: (message) => grants.postMessage(message),
  splices: true,
  invalidate: (message) => notifier.postMessage(message),
})
const { maps, stats, granted, tellKeeper } = context

const patient = waitingForLeases(allHandlers(context, space), (request) =>
  tellKeeper({ type: 'leased', fuseFd, bytes: request.bytes.slice(0, request.length) }),
)
const handlers = heldBack(patient, granted, (request) => handOver(grants, fuseFd, request))

const server = new Server(
  byOpcode(handlers),
  {
    began: (uniqueLow, uniqueHigh) => crew.began(worker, uniqueLow, uniqueHigh),
    ended(opcode, error, seconds) {
      stats.record(worker, opcode, error, seconds)
      crew.ended(worker)
    },
    failed: (opcode, error) => reportDefect(context, opcode, error),
  },
  shared.options.maxReadBytes,
  request,
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
