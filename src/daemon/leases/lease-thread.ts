/**
 * The thread at which requests wait that open files on which somebody has a lease below. It starts with the first of them. The kernel tells nobody when a lease has gone: each is
 * tried again, by the handlers of a worker, until it is answered, or a signal comes for who waits.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { requestNumber } from '../../fuse/messages.ts'
import { ERRNO } from '../../linux/errors.ts'
import { type HandedOver, HandedOverRequests, handedOver, handOver } from '../grants/handed-over.ts'
import { heldBack } from '../grants/held-back.ts'
import { allHandlers } from '../handlers/all.ts'
import { waitingForLeases } from '../handlers/leased.ts'
import { answeringContext, byOpcode, reportDefect } from '../handlers/thread-context.ts'
import type { SharedState, ToGrants } from '../shared-state.ts'

export interface LeaseThreadStart {
  /** Where its figures stand. */
  readonly worker: number
  readonly fuseFd: number
  readonly shared: SharedState
  readonly requests: MessagePort
  /** To the grants' thread, as workers have it. */
  readonly grants: MessagePort
}

/** What it is sent: as {@link ToGrants}. */
export type ToLeaseThread = ToGrants

/** Between two tries. */
const RETRY_MS_MIN = 5
/** So many times as long as the tries take, for each opens a file: many who wait are not to take the processor from others. */
const PAUSE = 20
/** How often to read the keeper's messages when nothing happens. */
const DRAIN_MS = 5000

const { worker, fuseFd, shared, requests: port, grants } = workerData as LeaseThreadStart
if (parentPort === null) throw new Error('lease-thread.ts runs as a worker thread only')

const { context, space } = answeringContext(shared, parentPort, worker, fuseFd)
const defect = (opcode: number, error: unknown) => reportDefect(context, opcode, error)

const waiting = new Map<string, HandedOver>()
let isStillLeased = false
const patient = waitingForLeases(allHandlers(context, space), () => {
  isStillLeased = true
})
const handlers = heldBack(patient, context.granted, (request) => handOver(grants, context.answerFd, request))
const requests = new HandedOverRequests({
  handlers: byOpcode(handlers),
  maxBytes: shared.options.maxReadBytes,
  failed: defect,
})

function attempt(handed: HandedOver): void {
  isStillLeased = false
  // Whoever answers has to do so by the descriptor that the request came from.
  context.answerFd = handed.fuseFd
  requests.run(handed)
  if (!isStillLeased) end(handed)
}

function end(handed: HandedOver): void {
  waiting.delete(handed.number)
  requests.forget(handed)
}

function receive(message: ToLeaseThread): void {
  if (message.type === 'interrupt') {
    requests.interrupt(requestNumber(message.uniqueLow, message.uniqueHigh))
    return
  }
  const handed = handedOver(message.fuseFd, message.bytes)
  waiting.set(handed.number, handed)
  requests.waits(handed, () => {
    end(handed)
    requests.answer(handed, -ERRNO.EINTR)
  })
  retryAfter(RETRY_MS_MIN)
}

let isDue = false
function retryAfter(ms: number): void {
  if (isDue) return
  isDue = true
  setTimeout(retry, ms)
}

function retry(): void {
  isDue = false
  const started = performance.now()
  for (const handed of [...waiting.values()]) attempt(handed)
  if (waiting.size > 0) retryAfter(Math.max(RETRY_MS_MIN, (performance.now() - started) * PAUSE))
}

port.on('message', receive)
// Messages that are not read pile up, with the run maps that they hold.
setInterval(() => context.maps.drain(), DRAIN_MS)
process.on('uncaughtException', (error) => defect(0, error))
