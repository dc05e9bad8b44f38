/**
 * The grants' thread: keeps who holds what, and answers what workers have handed over. It starts when somebody asks for the first grant of the mount.
 *
 * It has an event loop: connections, the workers' messages and the kernel's pages are waited for on the libuv pool. What it does with files it does
 * at once, one after the other, as a worker does.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { Credentials } from '../credentials.ts'
import { allHandlers } from '../handlers/all.ts'
import { answeringContext, byOpcode, reportDefect } from '../handlers/thread-context.ts'
import type { SharedState, ToGrants } from '../shared-state.ts'
import { Connections } from './connections.ts'
import { HandedOverRequests } from './handed-over.ts'
import { type GrantsReport, MountGrants } from './mount-grants.ts'

export interface GrantsStart {
  /** Where its figures stand, behind those of the workers. */
  readonly worker: number
  readonly fuseFd: number
  readonly shared: SharedState
  readonly listening: number
  /** `major:minor` of the mount. */
  readonly device: string
  /** To the keeper's thread: {@link ToControl} and {@link FromGrants}. */
  readonly control: MessagePort
  /** One for each worker. */
  readonly workers: readonly MessagePort[]
}

/** From the keeper's thread. */
type ToControl = { readonly type: 'report' } | { readonly type: 'worker'; readonly port: MessagePort }
/** To the keeper's thread: the answer to a question for the report. */
export interface FromGrants {
  readonly report: GrantsReport
}

/** How often to read the keeper's messages when nothing happens. */
const DRAIN_MS = 5000

const { worker, fuseFd, shared, listening, device, control, workers } = workerData as GrantsStart
if (parentPort === null) throw new Error('grants-thread.ts runs as a worker thread only')

const { context, crew, space } = answeringContext(shared, parentPort, worker, fuseFd)
const defect = (opcode: number, error: unknown) => reportDefect(context, opcode, error)
const handlers = byOpcode(allHandlers(context, space))

const requests = new HandedOverRequests({ handlers, maxBytes: shared.options.maxReadBytes, failed: defect })
const credentials = new Credentials(shared.options)
const grants = new MountGrants({ context, requests, crew, device, space, credentials })
const connections = new Connections(listening, grants)

function attend(worker: MessagePort): void {
  worker.on('message', (message: ToGrants) => {
    if (message.type === 'request') grants.receive(message.fuseFd, message.bytes, connections)
    else grants.interrupt(message.uniqueLow, message.uniqueHigh)
  })
}
for (const worker of workers) attend(worker)
control.on('message', (message: ToControl) => {
  if (message.type === 'worker') attend(message.port)
  else control.postMessage({ report: grants.report() } satisfies FromGrants)
})
// Messages that are not read pile up, with the run maps that they hold.
setInterval(() => context.maps.drain(), DRAIN_MS)
// A defect in the dealing with one of them is not to make all others wait for ever.
process.on('uncaughtException', (error) => defect(0, error))
context.granted.setServed()
void connections.serve()
