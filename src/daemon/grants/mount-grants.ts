/**
 * The grants of a mount: who asked for which bytes of which file, and what becomes of requests of the kernel that touch them. Whose turn it is says the
 * grant table (cache/grants/grant-table.ts).
 *
 * Context: the grants' thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { PageRange } from '../../cache/grants/grant-authority.ts'
import { GrantTable } from '../../cache/grants/grant-table.ts'
import type { Range, ToMount } from '../../exclusive/messages.ts'
import type { Request } from '../../fuse/messages.ts'
import { OPCODE_ROWS } from '../../fuse/protocol.ts'
import { ERRNO } from '../../linux/errors.ts'
import { descendsFrom } from '../../linux/processes.ts'
import { lockKeyOf } from '../handlers/locking.ts'
import { slotOf } from '../inode-table.ts'
import { OPEN_BOTH_WAYS } from '../opening.ts'
import { AttachedCaches } from './attached-caches.ts'
import type { Connection, ConnectionEvents, Connections } from './connections.ts'
import { answered } from './grace.ts'
import { type HandedOver, type HandedOverRequests, handedOver, requestNumber } from './handed-over.ts'
import { type GrantCounts, Holding, type HoldingParts, type HoldingReport } from './holding.ts'
import { whatIsInTheWay } from './in-the-way.ts'
import { ShownFile } from './shown-file.ts'
import { isOfMapping, touchedBy, wouldNotWait } from './touched.ts'

/** So many one connection may hold or want at a time. */
const HOLDINGS_MAX = 64
const IOCTL = OPCODE_ROWS.find(({ name }) => name === 'IOCTL')!.code

/** What `samepage status` shows of grants. */
export interface GrantsReport extends Readonly<GrantCounts> {
  readonly held: readonly HoldingReport[]
  /** Who wait for a grant, and requests of the kernel that wait for one to end. */
  readonly wanted: number
  readonly waiting: number
  /** Caches of other processes that have files open. */
  readonly caches: number
}

/** A range that a request touches, as the table wants to know it. */
interface Touch extends PageRange {
  readonly writes: boolean
}

/** A file that a connection has shown, and may want parts of where it has it open for reading and writing. */
interface Shown {
  readonly file: ShownFile
  readonly isWritable: boolean
}

export interface MountGrantsParts extends Omit<HoldingParts, 'table' | 'counts' | 'caches'> {
  readonly requests: HandedOverRequests
}

export class MountGrants implements ConnectionEvents {
  readonly #parts: MountGrantsParts
  readonly #holdingParts: HoldingParts
  readonly #table = new GrantTable({
    now: () => performance.now(),
    after(ms, run) {
      const timer = setTimeout(run, ms)
      return () => clearTimeout(timer)
    },
  })
  /** By inode. */
  readonly #files = new Map<string, ShownFile>()
  /** The file that was shown last, and what is wanted or held. */
  readonly #shown = new Map<Connection, Shown>()
  readonly #caches: AttachedCaches
  readonly #holdings = new Set<Holding>()
  readonly #counts: GrantCounts = { granted: 0, published: 0, refused: 0, taken: 0 }

  constructor(parts: MountGrantsParts) {
    this.#parts = parts
    this.#caches = new AttachedCaches(parts.context.granted)
    this.#holdingParts = { ...parts, table: this.#table, counts: this.#counts, caches: this.#caches }
  }

  report(): GrantsReport {
    const all = [...this.#holdings]
    return {
      held: all.filter((holding) => holding.isHeld).map((holding) => holding.report()),
      wanted: all.filter((holding) => !holding.isHeld).length,
      waiting: this.#parts.requests.waitingCount,
      caches: this.#caches.count,
      ...this.#counts,
    }
  }

  // Connections.

  message(connection: Connection, message: ToMount): void {
    switch (message.type) {
      case 'want':
      case 'revoke':
      case 'attend':
        this.#ofShown(connection, message)
        return
      case 'leave':
        this.#caches.leave(connection, message.id)
        return
      case 'recalled':
        this.#caches.answered(connection, message.id, message.turn)
        return
    }
    const holding = this.#holdingOf(connection, message.id)
    if (holding === undefined)
      connection.send({ type: 'ended', id: message.id, code: 'ESTALE', message: 'the grant has been taken' })
    else if (message.type === 'publish') void holding.publish(message.sync)
    else holding.abandon()
  }

  /** What is about the file that was shown last. */
  #ofShown(connection: Connection, message: Extract<ToMount, { type: 'want' | 'revoke' | 'attend' }>): void {
    const shown = this.#shown.get(connection)
    if (shown === undefined || (message.type !== 'attend' && !shown.isWritable)) {
      connection.cutOff()
      return
    }
    const { file } = shown
    if (message.type === 'attend') void this.#attend(connection, message.id, file)
    else if (message.type === 'want') this.#want(connection, message, file)
    else
      void this.#revoke(file, message.range, message.deadlineMs).then((ended) =>
        connection.send({ type: 'ended', id: message.id, ...ended }),
      )
  }

  #want(connection: Connection, message: Extract<ToMount, { type: 'want' }>, file: ShownFile): void {
    if (this.#holdingOf(connection, message.id) !== undefined) {
      connection.cutOff()
      return
    }
    if (this.#countOf(connection) >= HOLDINGS_MAX) {
      const why = `one process can hold, and wait for, ${HOLDINGS_MAX} grants at a time`
      connection.send({ type: 'refused', id: message.id, code: 'ENFILE', message: why })
      return
    }
    const wanted = new Holding(this.#holdingParts, connection, message, file.share(), () =>
      this.#holdings.delete(wanted),
    )
    this.#holdings.add(wanted)
    wanted.ask()
  }

  /**
   * The connection's cache is told of grants of the file from now on. It is answered when nothing is in the way of any: what it has shown may have been passed through, and whoever opens the file from
   * now on is served by the daemon. Where somebody else is in the way that is for who wants a grant to hear.
   */
  async #attend(connection: Connection, id: number, shown: ShownFile): Promise<void> {
    const { context, crew, device } = this.#parts
    if (!this.#caches.attend(connection, id, shown.share())) {
      connection.cutOff()
      return
    }
    const file = shown.share()
    try {
      await answered(crew)
      await whatIsInTheWay(context, device, file)
    } finally {
      file.release()
    }
    connection.send({ type: 'attended', id })
  }

  closed(connection: Connection): void {
    this.#shown.get(connection)?.file.release()
    this.#shown.delete(connection)
    // First: nobody waits for it to give anything up.
    this.#caches.closed(connection)
    for (const holding of [...this.#holdings]) if (holding.connection === connection) holding.drop()
  }

  #countOf(connection: Connection): number {
    return [...this.#holdings].filter((holding) => holding.connection === connection).length
  }

  #holdingOf(connection: Connection, id: number): Holding | undefined {
    for (const holding of this.#holdings) if (holding.connection === connection && holding.id === id) return holding
    return undefined
  }

  /** Resolves when all grants of the range have ended: with how many those were, and how many had to be taken. */
  async #revoke(file: ShownFile, range: Range, deadlineMs: number): Promise<{ asked: number; taken: number }> {
    const pages = pagesOf(file.key, range.start, range.end ?? Number.POSITIVE_INFINITY)
    const holdings = [...this.#holdings].filter((holding) => holding.isGranted && overlaps(holding.pages, pages))
    const ends = await Promise.all(holdings.map((holding) => holding.revoke(deadlineMs)))
    return { asked: ends.length, taken: ends.filter((how) => how === 'taken').length }
  }

  // Requests of the kernel.

  /** Takes a request that a worker has handed over. */
  receive(fuseFd: number, bytes: Uint8Array<ArrayBuffer>, connections: Connections): void {
    const { requests } = this.#parts
    const handed = handedOver(fuseFd, bytes)
    const request = requests.look(handed)
    if (request.opcode === IOCTL) this.#show(handed, request, connections)
    else if (!isOfMapping(request)) this.#admit(handed, request)
    // It holds a page, and so cannot wait. A page that is written back was filled before what the holder has: it would undo what is published.
    else if (this.#touches(request).some((touch) => touch.writes && this.#table.grantsIn(touch).length > 0))
      requests.answer(handed, -ERRNO.EIO)
    else requests.run(handed)
  }

  interrupt(uniqueLow: number, uniqueHigh: number): void {
    this.#parts.requests.interrupt(requestNumber(uniqueLow, uniqueHigh))
  }

  /** A client shows a file that it has open. */
  #show(handed: HandedOver, request: Request, connections: Connections): void {
    const { requests } = this.#parts
    const KEY_AT = 32
    const key = Buffer.from(request.data(KEY_AT, request.u32(24))).toString('hex')
    const connection = connections.withKey(key)
    const file = connection === undefined ? -ERRNO.ENOTTY : this.#fileOf(slotOf(request.nodeid))
    if (typeof file === 'number') {
      requests.answer(handed, file)
      return
    }
    this.#shown.get(connection!)?.file.release()
    this.#shown.set(connection!, { file, isWritable: (request.u32(4) & OPEN_BOTH_WAYS) !== 0 })
    requests.answerIoctl(handed)
  }

  /** One for all who show the same inode: so there is one descriptor of it. */
  #fileOf(slot: number): ShownFile | number {
    const { context } = this.#parts
    const key = lockKeyOf(context.inodes, slot)
    const known = this.#files.get(key)
    if (known !== undefined) return known.share()
    const file = ShownFile.of(context, slot, () => this.#files.delete(key))
    if (typeof file !== 'number') this.#files.set(key, file)
    return file
  }

  /** Lets a request take its turn. It touches two ranges where it copies: it waits for one after the other, until both are free. */
  #admit(handed: HandedOver, request: Request): void {
    const { requests } = this.#parts
    const touches = this.#touches(request)
    const holder = this.#holderAsking(request.pid, touches)
    if (wouldNotWait(request)) {
      if (touches.some((touch) => this.#isKeptOut(touch, holder))) requests.answer(handed, -ERRNO.EAGAIN)
      else requests.run(handed)
      return
    }
    let isInterrupted = false
    const goOn = (): void => {
      const next = touches.find((touch) => !this.#isFree(touch, holder))
      if (next === undefined) requests.run(handed)
      else if (isInterrupted) requests.answer(handed, -ERRNO.EINTR)
      else wait(next)
    }
    const wait = (touch: Touch): void => {
      const takeBack = this.#table.enter({
        ...touch,
        holder,
        wait: true,
        onRefused: () => requests.answer(handed, -ERRNO.EINTR),
        onEntered: (leave) => {
          if (touches.length === 1) requests.run(handed)
          else setImmediate(goOn)
          leave()
        },
      })
      requests.waits(handed, () => {
        isInterrupted = !takeBack()
      })
    }
    goOn()
  }

  /** Whether a request that does not wait is refused: its bytes are somebody's by now. What an attached cache reads and writes is so, and must get through to the very moment in which it gives the range up. */
  #isKeptOut(touch: Touch, holder: string | undefined): boolean {
    for (const holding of this.#holdings)
      if (holding.holder !== holder && overlaps(holding.pages, touch) && holding.keepsOut(touch.writes)) return true
    return false
  }

  /** Whether a passage would not have to wait now. Not from a call of the table's: what it answers comes after that. */
  #isFree(touch: Touch, holder: string | undefined): boolean {
    let isFree = false
    this.#table.enter({
      ...touch,
      holder,
      wait: false,
      onRefused: () => {},
      onEntered(leave) {
        isFree = true
        leave()
      },
    })
    return isFree
  }

  #touches(request: Request): Touch[] {
    const { inodes } = this.#parts.context
    const touches: Touch[] = []
    touchedBy(request, (slot, start, end, writes) => {
      if (start < end) touches.push({ ...pagesOf(lockKeyOf(inodes, slot), start, end), writes })
      return false
    })
    return touches
  }

  /** The holder whose own command asks: what he holds is not in its way. An attached cache has readers beside its holders, who wait as all do. */
  #holderAsking(pid: number, touches: readonly Touch[]): string | undefined {
    for (const holding of this.#holdings)
      if (this.#caches.has(holding.connection)) continue
      else if (
        touches.some((touch) => overlaps(holding.pages, touch)) &&
        descendsFrom(pid, holding.connection.peer.pid)
      )
        return holding.holder
    return undefined
  }
}

/** The pages that bytes [start, end) lie in. */
export function pagesOf(file: string, start: number, end: number): PageRange {
  return { file, from: Math.floor(start / PAGE_BYTES), to: Math.ceil(end / PAGE_BYTES) }
}

const overlaps = (a: PageRange, b: PageRange): boolean => a.file === b.file && a.from < b.to && b.from < a.to
