/**
 * The threads of the serving process: workers, monitor, notifier. A worker that dies is replaced, and the request that it had in
 * hand is answered with EIO, so no client waits for ever. Where one after the other dies, the process does, and all get an error.
 */
import { performance } from 'node:perf_hooks'
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { Reply } from '../fuse/messages.ts'
import { ERRNO } from '../linux/errors.ts'
import { cloneFuseDevice, write } from '../linux/fuse-device.ts'
import { exitNow } from '../linux/native.ts'
import { Crew } from './crew.ts'
import type { MonitorStart } from './monitor.ts'
import type { NotifierStart } from './notifier.ts'
import type { SharedState, ToKeeper, ToWorker, WorkerStart } from './shared-state.ts'

export interface ThreadEvents {
  /** A message for the keeper. */
  message(message: ToKeeper): void
  /** A worker that replaces another one starts: it has to be told what the others know. */
  started(post: (message: ToWorker) => void): void
  /** A worker died and was replaced. */
  died(worker: number, error: unknown): void
}

/** Few: a worker's heap is small, its buffers are outside of it. */
const WORKER_LIMITS = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 4, stackSizeMb: 2 }

/** When so many died within so many milliseconds, the next one will, too. */
const DEATHS_MAX = 16
const DEATHS_MS = 10_000

export class Threads {
  readonly #shared: SharedState
  readonly #fuseFd: number
  readonly #events: ThreadEvents
  readonly #crew: Crew
  readonly #notifier: Worker
  readonly #workers: Worker[] = []
  readonly #descriptors: number[] = []
  /** When the last of them died. */
  readonly #deaths: number[] = []
  #restarts = 0

  constructor(fuseFd: number, shared: SharedState, monitor: Omit<MonitorStart, 'crew'>, events: ThreadEvents) {
    this.#fuseFd = fuseFd
    this.#shared = shared
    this.#events = events
    this.#crew = new Crew(shared.crew)
    const notifierStart: NotifierStart = { fuseFd }
    this.#notifier = startThread('notifier', notifierStart)
    for (let w = 0; w < this.#crew.size; w++) this.#start(w)
    this.#crew.callAnyIn()
    const monitorStart: MonitorStart = { crew: shared.crew, ...monitor }
    startThread('monitor', monitorStart)
  }

  /** Workers that died so far. */
  get restarts(): number {
    return this.#restarts
  }

  toWorkers(message: ToWorker): void {
    for (const worker of this.#workers) worker.postMessage(message)
  }

  #start(w: number): void {
    // A kernel that cannot clone the descriptor lets all workers use the one.
    const fuseFd = this.#descriptors[w] ?? Math.max(cloneFuseDevice(this.#fuseFd), -1)
    const own = fuseFd < 0 ? this.#fuseFd : fuseFd
    this.#descriptors[w] = own
    const { port1, port2 } = new MessageChannel()
    this.#notifier.postMessage(port1, [port1])
    const start: WorkerStart = { worker: w, fuseFd: own, shared: this.#shared, notifier: port2 }
    const thread = startThread('worker', start, [port2])
    thread.on('message', (message: ToKeeper) => {
      this.#crew.heard()
      this.#events.message(message)
    })
    let failure: unknown
    thread.on('error', (error) => {
      failure = error
    })
    thread.on('exit', (code) => {
      if (code !== 0 || failure !== undefined) this.#replace(w, failure)
    })
    this.#workers[w] = thread
  }

  #replace(w: number, failure: unknown): void {
    this.#restarts++
    this.#deaths.push(performance.now())
    if (this.#deaths.length > DEATHS_MAX && performance.now() - this.#deaths.shift()! < DEATHS_MS) {
      process.stderr.write(`samepage: workers die as soon as they start: the mount is given up: ${String(failure)}\n`)
      exitNow(1)
    }
    const abandoned = this.#crew.abandonedBy(w)
    this.#crew.bury(w)
    if (abandoned !== undefined) {
      const reply = new Reply(64)
      write(this.#descriptors[w]!, reply.bytes, reply.finish(abandoned[0], abandoned[1], -ERRNO.EIO, 0))
    }
    this.#start(w)
    this.#events.started((message) => this.#workers[w]?.postMessage(message))
    if (this.#crew.workersIn === 0) this.#crew.callAnyIn()
    this.#events.died(w, failure)
  }
}

function startThread(name: 'worker' | 'monitor' | 'notifier', start: object, transfer: MessagePort[] = []): Worker {
  // The file lies beside this one, compiled (.js) or not (.ts).
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return new Worker(new URL(`./${name}.${extension}`, import.meta.url), {
    workerData: start,
    transferList: transfer,
    resourceLimits: WORKER_LIMITS,
    name: `samepage-${name}`,
  })
}
