/**
 * The simulated mount: requests of the kernel, the workers that answer them, and the grants' thread. Who has what, whose turn it is, and what caches are asked is the daemon's own code; here is only what is
 * between: the shared memory that workers look at, and requests that are handed over.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { GrantTable } from '../../cache/grants/grant-table.ts'
import { GrantedRanges, TOUCHER } from '../../daemon/grants/granted-ranges.ts'
import { Holdings } from '../../daemon/grants/holdings.ts'
import { Turns } from '../../daemon/grants/turns.ts'
import { SLOT } from '../../daemon/inode-table.ts'
import type { SimFile } from './sim-file.ts'
import type { Halves } from './truth.ts'
import type { SimConnection } from './wire.ts'
import type { World } from './world.ts'

const EAGAIN = 11

/** What a program asks the kernel for: a read of pages [from, to), or a write of one. */
export interface Wanted {
  readonly pid: number
  readonly file: SimFile
  readonly from: number
  readonly to: number
  /** What is written to the one page; undefined: it reads. */
  readonly value?: number
  /** O_NONBLOCK. */
  readonly isImpatient: boolean
}

type Answer = { readonly pages: readonly Halves[] } | { readonly errno: number }

class Request {
  readonly wanted: Wanted
  readonly answer: (answer: Answer) => void
  /** A worker, or the grants' thread, goes on with it. */
  steps: Iterator<void> | undefined
  /** Taken by a worker. */
  isInHand = false
  isOver = false
  interrupt: (() => void) | undefined
  /** When it is in hand no more. */
  readonly ends: (() => void)[] = []

  constructor(wanted: Wanted, answer: (answer: Answer) => void) {
    this.wanted = wanted
    this.answer = answer
  }

  letGo(): void {
    this.isInHand = false
    this.steps = undefined
    for (const end of this.ends) end()
  }
}

export class SimMount {
  readonly holdings: Holdings
  readonly #world: World
  readonly #table: GrantTable
  readonly #turns: Turns
  readonly #granted: GrantedRanges
  /** That workers have, or have not taken yet. */
  #atWorkers: Request[] = []
  readonly #handedOver: Request[] = []
  readonly #waiting = new Set<Request>()

  constructor(world: World) {
    this.#world = world
    this.#table = new GrantTable(world.timers)
    this.#granted = new GrantedRanges(GrantedRanges.allocate(), {
      get: (slot, field) => (field === SLOT.INO_LOW ? slot : 0),
    })
    this.holdings = new Holdings({
      table: this.#table,
      timers: world.timers,
      granted: this.#granted,
      answered: () => this.#answered(),
    })
    this.#turns = new Turns(this.#table, this.holdings, queueMicrotask)
  }

  /** Resolves with the answer. The function that is returned beside it sends a signal. */
  ask(wanted: Wanted): { readonly answer: Promise<Answer>; readonly interrupt: () => void } {
    let request!: Request
    const answer = new Promise<Answer>((resolve) => {
      request = new Request(wanted, resolve)
    })
    request.steps = this.#byWorker(request)
    this.#atWorkers.push(request)
    return { answer, interrupt: () => request.interrupt?.() }
  }

  /** Whether the daemon serves who opens the file now: else the kernel passes it through, and what is read of it waits for nobody. */
  serves(file: SimFile): boolean {
    return this.#granted.hasFile(file.slot)
  }

  get isIdle(): boolean {
    return this.#atWorkers.length === 0 && this.#handedOver.length === 0
  }

  /** One of the workers does something. */
  workerStep(): void {
    if (this.#atWorkers.length === 0) return
    const request = this.#world.random.pick(this.#atWorkers)
    if (request.steps?.next().done !== false && !request.isInHand)
      this.#atWorkers = this.#atWorkers.filter((other) => other !== request)
  }

  /** The grants' thread takes one of the things that have come in. */
  threadStep(): void {
    const { random, connections } = this.#world
    const readable: (SimConnection | 'requests')[] = connections.filter((connection) => connection.isReadable)
    if (this.#handedOver.length > 0) readable.push('requests')
    if (readable.length === 0) return
    const next = random.pick(readable)
    if (next === 'requests') this.#admit(this.#handedOver.splice(random.below(this.#handedOver.length), 1)[0]!)
    else next.deliver()
    this.#table.checkInvariants()
  }

  /** Throws where somebody has something when nobody is there any more. */
  checkEnd(): void {
    const { held, wanted, caches } = this.holdings.report()
    if (held.length + wanted + caches > 0) throw new Error(`${held.length} held, ${wanted} wanted, ${caches} caches`)
    if (this.#table.filesInUse > 0 || !this.#granted.isEmpty) throw new Error('ranges are somebody’s who is gone')
    if (this.#waiting.size > 0) throw new Error('a request waits for nobody')
    if (this.#world.timers.pending > 0) throw new Error('somebody is still waited for')
  }

  /** As held-back.ts: what touches a granted range is handed over. */
  *#byWorker(request: Request): Iterator<void> {
    const { file, from, to, value } = request.wanted
    request.isInHand = true
    yield
    const who = value === undefined ? TOUCHER.READER : TOUCHER.WRITER
    const isConcerned = this.#granted.concerns(file.slot, from * PAGE_BYTES, to * PAGE_BYTES, who)
    yield
    if (isConcerned) this.#handedOver.push(request)
    else {
      const steps = this.#handle(request)
      while (steps.next().done === false) yield
    }
    request.letGo()
  }

  /** As the handlers do it, a page after the other. */
  *#handle(request: Request): Iterator<void> {
    const { file, from, to, value, pid } = request.wanted
    if (value !== undefined) {
      file.write(from, value)
      this.#reply(request, { pages: [] })
      return
    }
    const pages: Halves[] = []
    for (let page = from; page < to; page++) {
      pages.push(file.look(page, pid))
      yield
    }
    this.#world.truth.checkRange(file.key, from, pages)
    this.#reply(request, { pages })
  }

  #admit(request: Request): void {
    const { file, from, to, value, pid, isImpatient } = request.wanted
    const touches = [{ file: file.key, from, to, writes: value !== undefined }]
    this.#turns.take({
      touches,
      holder: this.holdings.holderAsking(touches, (holder) => holder === pid),
      isImpatient,
      run: () => {
        const steps = this.#handle(request)
        while (steps.next().done === false) this.#world.interleave()
      },
      refuse: (errno) => this.#reply(request, { errno }),
      waits: (interrupt) => {
        this.#waiting.add(request)
        request.interrupt = () => {
          request.interrupt = undefined
          interrupt()
        }
      },
    })
  }

  #reply(request: Request, answer: Answer): void {
    if (request.isOver) throw new Error('a request is answered twice')
    if ('errno' in answer && answer.errno === EAGAIN) this.#world.counts.refusedRequests++
    request.isOver = true
    request.interrupt = undefined
    this.#waiting.delete(request)
    request.answer(answer)
  }

  /** As grace.ts. */
  async #answered(): Promise<void> {
    const inHand = this.#atWorkers.filter((request) => request.isInHand)
    await Promise.all(inHand.map((request) => new Promise<void>((resolve) => request.ends.push(resolve))))
    await this.#world.pauseInMount()
  }
}
