/**
 * Who asked for which bytes of which file, and the caches that are asked before: what clients say (exclusive/messages.ts), and what comes of it. Whose turn it is says the grant table (cache/grants/grant-table.ts).
 *
 * Pure. Context: the grants' thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { PageRange, Timers } from '../../cache/grants/grant-authority.ts'
import type { GrantTable } from '../../cache/grants/grant-table.ts'
import type { ToMount } from '../../exclusive/messages.ts'
import { AttachedCaches } from './attached-caches.ts'
import type { GrantFile, GrantPeer } from './grant-file.ts'
import type { GrantedRanges } from './granted-ranges.ts'
import { Holding, type HoldingCounts, type HoldingParts, type HoldingReport } from './holding.ts'
import { Tally } from './tally.ts'

/** So many one connection may hold or want at a time. */
const HOLDINGS_MAX = 64
/** So many ranges it may be asking others for at a time. */
const REVOKES_MAX = 64
/** So many files it may have begun to attend, and not been answered about yet: each is looked at meanwhile, left again or not. */
const UNANSWERED_MAX = 8192

export interface HoldingsReport extends Readonly<HoldingCounts> {
  readonly held: readonly HoldingReport[]
  /** Who wait for a grant. */
  readonly wanted: number
  /** Caches of other processes that have files open. */
  readonly caches: number
}

/** A range that a request touches, as the table wants to know it. */
export interface Touch extends PageRange {
  readonly writes: boolean
}

/** A file that a connection has shown, and may want parts of where it has it open for reading and writing. */
interface Shown {
  readonly file: GrantFile
  readonly isWritable: boolean
}

interface HoldingsParts {
  readonly table: GrantTable
  readonly timers: Timers
  readonly granted: GrantedRanges
  readonly answered: () => Promise<void>
}

export class Holdings {
  readonly #parts: HoldingParts
  /** The file that was shown last, and what is wanted or held. */
  readonly #shown = new Map<GrantPeer, Shown>()
  readonly #caches: AttachedCaches
  readonly #holdings = new Set<Holding>()
  readonly #attending = new Tally<GrantPeer>()
  readonly #revoking = new Tally<GrantPeer>()
  readonly #counts: HoldingCounts = { granted: 0, published: 0, refused: 0, taken: 0 }

  constructor(parts: HoldingsParts) {
    this.#caches = new AttachedCaches(parts.granted, parts.timers)
    this.#parts = { ...parts, counts: this.#counts, caches: this.#caches }
  }

  report(): HoldingsReport {
    const all = [...this.#holdings]
    return {
      held: all.filter((holding) => holding.isHeld).map((holding) => holding.report()),
      wanted: all.filter((holding) => !holding.isHeld).length,
      caches: this.#caches.count,
      ...this.#counts,
    }
  }

  /** The connection shows a file, which passes to it: what it says from now on is about this one, what it has said before about the one before. */
  show(connection: GrantPeer, file: GrantFile, isWritable: boolean): void {
    connection.catchUp()
    this.#shown.get(connection)?.file.release()
    this.#shown.set(connection, { file, isWritable })
  }

  message(connection: GrantPeer, message: ToMount): void {
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
  #ofShown(connection: GrantPeer, message: Extract<ToMount, { type: 'want' | 'revoke' | 'attend' }>): void {
    const shown = this.#shown.get(connection)
    if (shown === undefined || (message.type !== 'attend' && !shown.isWritable)) {
      connection.cutOff()
      return
    }
    const { file } = shown
    if (message.type === 'attend') void this.#attend(connection, message.id, file)
    else if (message.type === 'want') this.#want(connection, message, file)
    else void this.#revoke(connection, message, file)
  }

  #want(connection: GrantPeer, message: Extract<ToMount, { type: 'want' }>, file: GrantFile): void {
    if (this.#holdingOf(connection, message.id) !== undefined) {
      connection.cutOff()
      return
    }
    if (this.#countOf(connection) >= HOLDINGS_MAX) {
      const why = `one process can hold, and wait for, ${HOLDINGS_MAX} grants at a time`
      connection.send({ type: 'refused', id: message.id, code: 'ENFILE', message: why })
      return
    }
    const wanted = new Holding(this.#parts, connection, message, file.share(), () => this.#holdings.delete(wanted))
    this.#holdings.add(wanted)
    wanted.ask()
  }

  /**
   * The connection's cache is told of grants of the file from now on. It is answered when nothing is in the way of any: what it has shown may have been passed through, and whoever opens the file from
   * now on is served by the daemon. Where somebody else is in the way that is for who wants a grant to hear.
   */
  async #attend(connection: GrantPeer, id: number, shown: GrantFile): Promise<void> {
    const isHasty = this.#attending.of(connection) >= UNANSWERED_MAX
    const attendant = isHasty ? 'wrong' : this.#caches.attend(connection, id, shown.share())
    if (attendant === 'wrong') {
      connection.cutOff()
      return
    }
    if (attendant === 'full') {
      // What it attends already it may keep: others can have taken the room.
      const why = 'so many files are open in caches that are attached to the mount that it takes no more'
      connection.send({ type: 'refused', id, code: 'ENFILE', message: why })
      return
    }
    const file = shown.share()
    this.#attending.add(connection)
    try {
      await this.#parts.answered()
      await file.inTheWay()
      connection.send({ type: 'attended', id })
    } catch (error) {
      // Who keeps what he reads has to know that nobody is passed through, so he is not to open it.
      this.#caches.end(attendant)
      connection.send({ type: 'refused', id, code: codeOf(error), message: String(error) })
    } finally {
      this.#attending.take(connection)
      file.release()
    }
  }

  closed(connection: GrantPeer): void {
    this.#shown.get(connection)?.file.release()
    this.#shown.delete(connection)
    // First: nobody waits for it to give anything up.
    this.#caches.closed(connection)
    for (const holding of [...this.#holdings]) if (holding.connection === connection) holding.drop()
  }

  #countOf(connection: GrantPeer): number {
    return [...this.#holdings].filter((holding) => holding.connection === connection).length
  }

  #holdingOf(connection: GrantPeer, id: number): Holding | undefined {
    for (const holding of this.#holdings) if (holding.connection === connection && holding.id === id) return holding
    return undefined
  }

  /** Answered when all grants of the range have ended: with how many those were, and how many had to be taken. */
  async #revoke(connection: GrantPeer, message: Extract<ToMount, { type: 'revoke' }>, file: GrantFile): Promise<void> {
    const { id, range, deadlineMs } = message
    if (this.#revoking.of(connection) >= REVOKES_MAX) {
      const why = `one process can ask for ${REVOKES_MAX} ranges at a time`
      connection.send({ type: 'refused', id, code: 'ENFILE', message: why })
      return
    }
    const pages = pagesOf(file.key, range.start, range.end ?? Number.POSITIVE_INFINITY)
    const holdings = [...this.#holdings].filter((holding) => holding.isGranted && overlaps(holding.pages, pages))
    this.#revoking.add(connection)
    const ends = await Promise.all(holdings.map((holding) => holding.revoke(deadlineMs)))
    this.#revoking.take(connection)
    connection.send({ type: 'ended', id, asked: ends.length, taken: ends.filter((how) => how === 'taken').length })
  }

  /** Whether a request that does not wait is refused: its bytes are somebody's by now. What an attached cache reads and writes is so, and must get through to the very moment in which it gives the range up. */
  keepsOut(touch: Touch, holder: string | undefined): boolean {
    for (const holding of this.#holdings)
      if (holding.holder !== holder && overlaps(holding.pages, touch) && holding.keepsOut(touch.writes)) return true
    return false
  }

  /** The holder whose own command asks: what he holds is not in its way. An attached cache has readers beside its holders, who wait as all do. `isOf`: whether who asks belongs to a process. */
  holderAsking(touches: readonly Touch[], isOf: (pid: number) => boolean): string | undefined {
    for (const { pages, holder, connection } of this.#holdings)
      if (this.#caches.has(connection)) continue
      else if (touches.some((touch) => overlaps(pages, touch)) && isOf(connection.peer.pid)) return holder
    return undefined
  }
}

/** The pages that bytes [start, end) lie in. */
export function pagesOf(file: string, start: number, end: number): PageRange {
  return { file, from: Math.floor(start / PAGE_BYTES), to: Math.ceil(end / PAGE_BYTES) }
}

const codeOf = (error: unknown): string => (error as { code?: string } | undefined)?.code ?? 'EIO'

const overlaps = (a: PageRange, b: PageRange): boolean => a.file === b.file && a.from < b.to && b.from < a.to
