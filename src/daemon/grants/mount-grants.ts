/**
 * The grants of a mount: files that clients show, and requests of the kernel that touch what is granted. Who has what: holdings.ts; whose turn it is: turns.ts.
 *
 * Context: the grants' thread.
 */
import { GrantTable } from '../../cache/grants/grant-table.ts'
import type { ToMount } from '../../exclusive/messages.ts'
import { type Request, requestNumber } from '../../fuse/messages.ts'
import { IN, OPCODE_ROWS } from '../../fuse/protocol.ts'
import { ERRNO } from '../../linux/errors.ts'
import { descendsFrom } from '../../linux/processes.ts'
import { TIMERS } from '../../util/timers.ts'
import type { Crew } from '../crew.ts'
import { lockKeyOf } from '../handlers/locking.ts'
import { slotOf } from '../inode-table.ts'
import { OPEN_BOTH_WAYS } from '../open-handle.ts'
import type { Connection, ConnectionEvents, Connections } from './connections.ts'
import { answered } from './grace.ts'
import { type HandedOver, type HandedOverRequests, handedOver } from './handed-over.ts'
import { Holdings, type HoldingsReport, pagesOf, type Touch } from './holdings.ts'
import { ShownFile, type ShownFileParts } from './shown-file.ts'
import { isOfMapping, touchedBy, wouldNotWait } from './touched.ts'
import { Turns } from './turns.ts'

const IOCTL = OPCODE_ROWS.find(({ name }) => name === 'IOCTL')!.code

/** What `samepage status` shows of grants. */
export interface GrantsReport extends HoldingsReport {
  /** Requests of the kernel that wait for a grant to end. */
  readonly waiting: number
}

interface MountGrantsParts extends ShownFileParts {
  readonly crew: Crew
  readonly requests: HandedOverRequests
}

export class MountGrants implements ConnectionEvents {
  readonly #parts: MountGrantsParts
  readonly #table = new GrantTable(TIMERS)
  /** By inode. */
  readonly #files = new Map<string, ShownFile>()
  readonly #holdings: Holdings
  readonly #turns: Turns

  constructor(parts: MountGrantsParts) {
    this.#parts = parts
    const { granted } = parts.context
    const table = this.#table
    this.#holdings = new Holdings({ table, timers: TIMERS, granted, answered: () => answered(parts.crew) })
    this.#turns = new Turns(table, this.#holdings, setImmediate)
  }

  report(): GrantsReport {
    return { ...this.#holdings.report(), waiting: this.#parts.requests.waitingCount }
  }

  message(connection: Connection, message: ToMount): void {
    this.#holdings.message(connection, message)
  }

  closed(connection: Connection): void {
    this.#holdings.closed(connection)
  }

  // Requests of the kernel.

  /** Takes a request that a worker has handed over. */
  receive(fuseFd: number, bytes: Uint8Array<ArrayBuffer>, connections: Connections): void {
    const handed = handedOver(fuseFd, bytes)
    this.#parts.requests.attend(handed, (request) => this.#take(handed, request, connections))
  }

  #take(handed: HandedOver, request: Request, connections: Connections): void {
    const { requests } = this.#parts
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
    const key = Buffer.from(request.data(IN.IOCTL.body, request.u32(IN.IOCTL.inSize))).toString('hex')
    const connection = connections.withKey(key)
    const file = connection === undefined ? -ERRNO.ENOTTY : this.#fileOf(slotOf(request.nodeid))
    if (typeof file === 'number') {
      requests.answer(handed, file)
      return
    }
    // The request's memory is used again for those that are answered meanwhile.
    const isWritable = (request.u32(IN.IOCTL.fhUpper) & OPEN_BOTH_WAYS) !== 0
    this.#holdings.show(connection!, file, isWritable)
    requests.answerIoctl(handed)
  }

  /** One for all who show the same inode: so there is one descriptor of it. */
  #fileOf(slot: number): ShownFile | number {
    const { context } = this.#parts
    const key = lockKeyOf(context.inodes, slot)
    const known = this.#files.get(key)
    if (known !== undefined) return known.share()
    const file = ShownFile.of(this.#parts, slot, () => this.#files.delete(key))
    if (typeof file !== 'number') this.#files.set(key, file)
    return file
  }

  #admit(handed: HandedOver, request: Request): void {
    const { requests } = this.#parts
    const touches = this.#touches(request)
    const { pid } = request
    this.#turns.take({
      touches,
      holder: this.#holdings.holderAsking(touches, (holder) => descendsFrom(pid, holder)),
      isImpatient: wouldNotWait(request),
      run: () => requests.run(handed),
      refuse: (errno) => requests.answer(handed, -errno),
      waits: (interrupt) => requests.waits(handed, interrupt),
    })
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
}
