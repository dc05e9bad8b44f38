/**
 * The threads of the serving process: workers, monitor, notifier, watcher, and, from the first client on that connects for them, one for grants, from the first lease that is waited for on, one for those. A worker that dies is replaced, and the request that it had in
 * hand is answered with EIO, so no client waits for ever; watcher, placer and monitor are, too. Where another version of the program has been installed meanwhile, no thread is started any more. Where one after the other dies, or one whose work nobody can take over, the process does, and all get an error.
 */
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { Reply, Request } from '../fuse/messages.ts'
import { requestBytes } from '../fuse/server.ts'
import { ERRNO } from '../linux/errors.ts'
import { cloneFuseDevice, write } from '../linux/fuse-device.ts'
import { exitNow } from '../linux/native.ts'
import { Crew } from './crew.ts'
import type { GrantsStart } from './grants/grants-thread.ts'
import { InstalledCode } from './installed-code.ts'
import type { LeaseThreadStart, ToLeaseThread } from './leases/lease-thread.ts'
import type { MonitorStart } from './monitor.ts'
import type { PlacerStart } from './near/placer.ts'
import type { NotifierStart } from './notifier.ts'
import type { SharedState, ToKeeper, ToWorker, WorkerStart } from './shared-state.ts'
import type { WatcherStart } from './watcher.ts'

interface ThreadEvents {
  /** A message for the keeper. */
  message(message: ToKeeper): void
  /** A thread that replaces another one starts: it has to be told what the others know. */
  started(post: (message: ToWorker) => void): void
  /** A thread, `worker 3` for example, died and was replaced. */
  died(thread: string, error: unknown): void
}

interface ThreadsOptions {
  readonly fuseFd: number
  /** What `watchSource` gave, or -1 where changes below are not watched for. */
  readonly watchFd: number
  readonly shared: SharedState
  readonly monitor: Omit<MonitorStart, 'crew'>
  /** Undefined where it does not matter on which NUMA node pages lie. */
  readonly placing: PlacerStart | undefined
  readonly events: ThreadEvents
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
  /** By thread, its locks: see {@link SharedState.mutexes}. */
  readonly #mutexes: Int32Array
  readonly #code = new InstalledCode()
  /** Threads of which it has been said that they are not started. */
  readonly #notStarted = new Set<string>()
  readonly #notifier: Worker
  readonly #workers: Worker[] = []
  /** What the watcher reads from, or -1: there is none. */
  readonly #watchFd: number
  #watcher: Worker | undefined
  /** The other ends of what workers hand requests over by, until there is somebody who takes them. */
  readonly #grantPorts: MessagePort[] = []
  #grants: { readonly thread: Worker; readonly port: MessagePort } | undefined
  #leases: { readonly thread: Worker; readonly port: MessagePort } | undefined
  readonly #descriptors: number[] = []
  /** Where workers receive requests. */
  readonly #requests: readonly SharedArrayBuffer[]
  /** When the last of them died. */
  readonly #deaths: number[] = []
  #restarts = 0

  constructor({ fuseFd, watchFd, shared, monitor, placing, events }: ThreadsOptions) {
    this.#fuseFd = fuseFd
    this.#watchFd = watchFd
    this.#shared = shared
    this.#events = events
    this.#crew = new Crew(shared.crew)
    this.#mutexes = new Int32Array(shared.mutexes)
    const bytes = requestBytes(shared.options.maxReadBytes)
    this.#requests = Array.from({ length: this.#crew.size }, () => new SharedArrayBuffer(bytes))
    const notifierStart: NotifierStart = { fuseFd }
    this.#notifier = startThread('notifier', notifierStart)
    // What it had still to tell the kernel is lost, which would go on showing old content.
    onDeath(this.#notifier, (failure) => giveUp('the notifier', failure))
    if (watchFd >= 0) this.#startWatcher(false)
    for (let w = 0; w < this.#crew.size; w++) this.#start(w)
    this.#crew.callAnyIn()
    if (placing !== undefined) this.#startPlacer(placing)
    this.#startMonitor({ crew: shared.crew, ...monitor })
  }

  /** Threads that died so far. */
  get restarts(): number {
    return this.#restarts
  }

  toWorkers(message: ToWorker): void {
    for (const worker of this.#workers) worker.postMessage(message)
    this.#watcher?.postMessage(message)
    this.#grants?.thread.postMessage(message)
    this.#leases?.thread.postMessage(message)
  }

  /** Asks the kernel to forget inodes that nobody uses. */
  prune(nodeids: readonly number[]): void {
    this.#notifier.postMessage(nodeids)
  }

  /**
   * Starts the grants' thread, which serves who connects to `listening`. Returns a port for questions to it, or undefined where it cannot be started any more. It is not replaced: who waits at it would wait
   * for ever, so with it the process ends.
   */
  startGrants(listening: number, device: string): MessagePort | undefined {
    if (!this.#mayStart('the grants’ thread')) return undefined
    const { port1, port2 } = new MessageChannel()
    const start: GrantsStart = {
      worker: this.#crew.size,
      fuseFd: this.#fuseFd,
      shared: this.#shared,
      listening,
      device,
      control: port2,
      workers: this.#grantPorts.splice(0),
    }
    const thread = startThread('grants/grants-thread', start, [port2, ...start.workers])
    this.#attendTo(thread, 'the grants’ thread')
    this.#grants = { thread, port: port1 }
    return port1
  }

  /** A request waits for a lease that somebody has below. Where nobody can wait with it, its client is told to try again. */
  waitForLease(fuseFd: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#leases === undefined && !this.#mayStart('the leases’ thread')) {
      const [, , uniqueLow, uniqueHigh] = new Uint32Array(bytes.buffer, 0, 4)
      answerError(fuseFd, uniqueLow!, uniqueHigh!, ERRNO.EAGAIN)
      return
    }
    this.#leases ??= this.#startLeases()
    this.#leases.port.postMessage({ type: 'request', fuseFd, bytes } satisfies ToLeaseThread, [bytes.buffer])
  }

  /** A signal came for a request that may be waiting so. */
  interruptLeased({ uniqueLow, uniqueHigh }: { readonly uniqueLow: number; readonly uniqueHigh: number }): void {
    this.#leases?.port.postMessage({ type: 'interrupt', uniqueLow, uniqueHigh } satisfies ToLeaseThread)
  }

  #startLeases(): { readonly thread: Worker; readonly port: MessagePort } {
    const { port1, port2 } = new MessageChannel()
    const grants = this.#grantsPort()
    const start: LeaseThreadStart = {
      worker: this.#crew.size + 1,
      fuseFd: this.#fuseFd,
      shared: this.#shared,
      requests: port2,
      grants,
    }
    const thread = startThread('leases/lease-thread', start, [port2, grants])
    this.#attendTo(thread, 'the leases’ thread')
    return { thread, port: port1 }
  }

  /** Who waits at such a thread would wait for ever when it has died: so the mount does. */
  #attendTo(thread: Worker, name: string): void {
    thread.on('message', (message: ToKeeper) => {
      this.#crew.heard()
      this.#events.message(message)
    })
    onDeath(thread, (failure) => giveUp(name, failure))
    this.#events.started((message) => thread.postMessage(message))
  }

  /** To the grants' thread, whether there is one yet or not. */
  #grantsPort(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    if (this.#grants === undefined) this.#grantPorts.push(port1)
    else this.#grants.port.postMessage({ type: 'worker', port: port1 }, [port1])
    return port2
  }

  #start(w: number): void {
    // A kernel that cannot clone the descriptor lets all workers use the one.
    const fuseFd = this.#descriptors[w] ?? Math.max(cloneFuseDevice(this.#fuseFd), -1)
    const own = fuseFd < 0 ? this.#fuseFd : fuseFd
    this.#descriptors[w] = own
    const { port1, port2 } = new MessageChannel()
    this.#notifier.postMessage(port1, [port1])
    const grants = this.#grantsPort()
    const start: WorkerStart = {
      worker: w,
      fuseFd: own,
      shared: this.#shared,
      request: this.#requests[w]!,
      notifier: port2,
      grants,
    }
    const thread = startThread('worker', start, [port2, grants])
    thread.on('message', (message: ToKeeper) => {
      this.#crew.heard()
      this.#events.message(message)
    })
    onDeath(thread, (failure) => this.#replace(w, failure))
    this.#workers[w] = thread
  }

  /** Whether a thread may be started by now; says why where it may not. */
  #mayStart(name: string): boolean {
    if (!this.#code.isReplaced) return true
    if (!this.#notStarted.has(name))
      process.stderr.write(
        `samepage: ${name} is not started: the program’s files have been replaced since the mount was made: unmount, and mount again\n`,
      )
    this.#notStarted.add(name)
    return false
  }

  /** Of a thread that has died and that the mount cannot be without. */
  #mustStart(name: string, failure: unknown): void {
    if (!this.#mayStart(name)) giveUp(name, failure)
  }

  #startWatcher(replaces: boolean): void {
    const start: WatcherStart = { fuseFd: this.#fuseFd, watchFd: this.#watchFd, shared: this.#shared, replaces }
    const watcher = startThread('watcher', start)
    onDeath(watcher, (failure) => {
      this.#countDeath(failure)
      this.#mustHoldNoLock(this.#mutexes.length - 1, 'the watcher', failure)
      // Nobody would hear of changes below.
      this.#mustStart('the watcher', failure)
      this.#startWatcher(true)
      this.#events.died('the watcher', failure)
    })
    this.#watcher = watcher
    if (replaces) this.#events.started((message) => watcher.postMessage(message))
  }

  #startPlacer(start: PlacerStart): void {
    onDeath(startThread('near/placer', start), (failure) => {
      this.#countDeath(failure)
      if (this.#mayStart('the placer')) {
        this.#startPlacer(start)
        this.#events.died('the placer', failure)
      } else process.stderr.write(`samepage: the placer died: ${String(failure)}\n`)
    })
  }

  #startMonitor(start: MonitorStart): void {
    onDeath(startThread('monitor', start), (failure) => {
      this.#countDeath(failure)
      // One slow request would hold up all others, and nobody would see it.
      this.#mustStart('the monitor', failure)
      this.#startMonitor(start)
      this.#events.died('the monitor', failure)
    })
  }

  /** Of the dead thread `thread`: what it was changing is half changed, and whoever comes there next waits for ever. */
  #mustHoldNoLock(thread: number, name: string, failure: unknown): void {
    if (Atomics.load(this.#mutexes, thread) > 0) giveUp(`${name}, in the middle of a change,`, failure)
  }

  #countDeath(failure: unknown): void {
    this.#restarts++
    this.#deaths.push(performance.now())
    if (this.#deaths.length > DEATHS_MAX && performance.now() - this.#deaths.shift()! < DEATHS_MS) {
      process.stderr.write(`samepage: threads die as soon as they start: the mount is given up: ${String(failure)}\n`)
      exitNow(1)
    }
  }

  #replace(w: number, failure: unknown): void {
    this.#countDeath(failure)
    this.#mustHoldNoLock(w, `worker ${w}`, failure)
    const abandoned = this.#crew.abandonedBy(w, new Request(this.#requests[w]!))
    const isReplaced = this.#mayStart(`worker ${w}`)
    this.#crew.bury(w, !isReplaced)
    if (abandoned !== undefined) answerError(this.#descriptors[w]!, ...abandoned, ERRNO.EIO)
    if (isReplaced) {
      this.#start(w)
      this.#events.started((message) => this.#workers[w]?.postMessage(message))
      this.#events.died(`worker ${w}`, failure)
    } else process.stderr.write(`samepage: worker ${w} died: ${String(failure)}\n`)
    // The others go on, if there are any.
    if (this.#crew.workersIn === 0 && !this.#crew.callAnyIn()) giveUp(`worker ${w}`, failure)
  }
}

function answerError(fuseFd: number, uniqueLow: number, uniqueHigh: number, errno: number): void {
  const reply = new Reply(64)
  write(fuseFd, reply.bytes, reply.finish(uniqueLow, uniqueHigh, -errno, 0))
}

function giveUp(name: string, failure: unknown): never {
  process.stderr.write(`samepage: ${name} died: the mount is given up: ${String(failure)}\n`)
  exitNow(1)
}

/** Calls `then` when the thread has ended as it should not have. */
function onDeath(thread: Worker, then: (failure: unknown) => void): void {
  let failure: unknown
  thread.on('error', (error) => {
    failure = error
  })
  thread.on('exit', (code) => {
    if (code !== 0 || failure !== undefined) then(failure)
  })
}

function startThread(
  name: 'worker' | 'monitor' | 'notifier' | 'watcher' | 'near/placer' | 'grants/grants-thread' | 'leases/lease-thread',
  start: object,
  transfer: MessagePort[] = [],
): Worker {
  // The file lies beside this one, compiled (.js) or not (.ts).
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return new Worker(new URL(`./${name}.${extension}`, import.meta.url), {
    workerData: start,
    transferList: transfer,
    resourceLimits: WORKER_LIMITS,
    name: `samepage-${path.basename(name)}`,
  })
}
