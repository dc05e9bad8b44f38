/**
 * One grant, from the question for it to its end.
 *
 * ```
 * queued      its range stands in shared memory: opens go through the daemon, requests that touch it are handed over and take their turn
 *   │
 * preparing   attached caches give it up (attached-caches.ts) → requests that workers had in hand have ended → nobody is in the way (in-the-way.ts) → the bytes are copied
 *   │
 * held        readers who take the last published bytes pass, and so does what the kernel reads for mapped pages
 *   │           publish: attached caches let nobody read → nobody passes any more → requests in hand have ended → all bytes are written, or none → the kernel drops what it has of them
 * ended       its range leaves shared memory, the others have their turn
 * ```
 * Pure. Context: the grants' thread.
 */

import { PAGE_BYTES } from '../../cache/entry.ts'
import type { Grant, PageRange, TakeBack, Timers } from '../../cache/grants/grant-authority.ts'
import type { GrantTable } from '../../cache/grants/grant-table.ts'
import { RECALL_MS, type ToMount } from '../../exclusive/messages.ts'
import { errnoName } from '../../linux/errors.ts'
import type { AttachedCaches, Recall } from './attached-caches.ts'
import type { GrantBytes, GrantFile, GrantPeer } from './grant-file.ts'
import { type GrantedRanges, TOUCHER } from './granted-ranges.ts'

/** So long caches may take to give a range up, however short a time somebody waits for it: less is no silence. */
const RECALL_MS_MIN = 100

/** Memory that one grant may take. */
const GRANT_BYTES_MAX = 2 ** 30

interface Failure {
  readonly code: string
  readonly message: string
}

type Want = Extract<ToMount, { type: 'want' }>

export interface HoldingParts {
  readonly table: GrantTable
  readonly timers: Timers
  readonly granted: GrantedRanges
  readonly caches: AttachedCaches
  /** Resolves when all requests have ended that workers have in hand now: grace.ts. */
  readonly answered: () => Promise<void>
  readonly counts: HoldingCounts
}

/** Since the start. */
export interface HoldingCounts {
  granted: number
  published: number
  refused: number
  taken: number
}

export interface HoldingReport {
  /** Below the source, as it is called now. */
  readonly path: string
  readonly start: number
  readonly length: number
  readonly pid: number
  readonly uid: number
  readonly seconds: number
}

export class Holding {
  readonly connection: GrantPeer
  readonly id: number
  /** As the table knows it: a connection is one holder, unless it tells several apart. */
  readonly holder: string
  readonly #parts: HoldingParts
  readonly #want: Want
  readonly #file: GrantFile
  readonly #done: () => void
  #pages: PageRange
  #record = -1
  #takeBack: TakeBack = () => false
  /** When it is not waited for any more. */
  #deadline = Number.POSITIVE_INFINITY
  #grant: Grant | undefined
  #bytes: GrantBytes | undefined
  #grantedAtMs = 0
  #recall: Recall | undefined
  /** Who has given it up, attached caches included: these are not let in until it ends. */
  #closedTo: 'nobody' | 'writers' | 'all' = 'nobody'
  #isPublishing = false
  #isEnded = false
  #isTakenIfEnded = false
  readonly #ends: ((how: 'given back' | 'taken') => void)[] = []

  /** `file` is the holding's own; `done` is called when it has ended. */
  constructor(parts: HoldingParts, connection: GrantPeer, want: Want, file: GrantFile, done: () => void) {
    this.#parts = parts
    this.connection = connection
    this.#want = want
    this.#file = file
    this.#done = done
    this.id = want.id
    this.holder = want.holder === undefined ? connection.key : `${connection.key} ${want.holder}`
    this.#pages = { file: file.key, from: 0, to: 0 }
  }

  get pages(): PageRange {
    return this.#pages
  }

  /** Whether nobody else can be granted it, given to the holder already or not. */
  get isGranted(): boolean {
    return this.#grant !== undefined
  }

  get isHeld(): boolean {
    return this.#bytes !== undefined
  }

  report(): HoldingReport {
    const { pid, uid } = this.connection.peer
    const { start, length } = this.#bytes!
    const seconds = (this.#parts.timers.now() - this.#grantedAtMs) / 1000
    return { path: this.#file.path, start, length, pid, uid, seconds }
  }

  /** Asks for it; the connection is told what comes of it. */
  ask(): void {
    const { granted, table, timers } = this.#parts
    const { range, readers, wait, timeoutMs } = this.#want
    if (timeoutMs !== null) this.#deadline = timers.now() + timeoutMs
    const size = this.#file.size()
    const end = range.end ?? size
    const wrong = whatIsWrong(range.start, end, size)
    if (wrong !== undefined) {
      this.#refuse(...wrong)
      return
    }
    this.#pages = { file: this.#file.key, from: range.start / PAGE_BYTES, to: Math.ceil(end / PAGE_BYTES) }
    const { from, to } = this.#pages
    this.#record = granted.add(this.#file.number, from * PAGE_BYTES, to * PAGE_BYTES)
    if (this.#record < 0) {
      this.#refuse('ENFILE', 'too many grants are held or waited for')
      return
    }
    this.#takeBack = table.request({
      ...this.#pages,
      holder: this.holder,
      readers,
      wait,
      ...(timeoutMs === null ? {} : { timeoutMs }),
      onRefused: (code) => this.#refuse(code, WHY[code]),
      onGranted: (grant) => {
        this.#grant = grant
        // Descriptors or memory may have run out: then it is not had, and nobody waits for it.
        void this.#prepare(grant, range.start, end).catch((error: unknown) => this.#giveUp(grant, 'EIO', String(error)))
      },
      onRevoke: (deadlineMs) => {
        this.#isTakenIfEnded = true
        this.connection.send({ type: 'revoking', id: this.id, deadlineMs })
      },
      onEnded: () => this.#ended(),
    })
  }

  async #prepare(grant: Grant, start: number, end: number): Promise<void> {
    const { answered, caches, counts, timers } = this.#parts
    const { readers } = this.#want
    const { file, from, to } = this.#pages
    const range = { key: file, start: from * PAGE_BYTES, end: to * PAGE_BYTES }
    const patienceMs = Math.min(RECALL_MS, Math.max(RECALL_MS_MIN, this.#deadline - timers.now()))
    const { recall, silent } = caches.recall(range, readers, patienceMs)
    this.#recall = recall
    const unheard = await silent
    if (this.#isEnded) return
    if (unheard.length > 0)
      return this.#giveUp(grant, patienceMs < RECALL_MS ? 'ETIMEDOUT' : 'EBUSY', withoutAnswer(unheard))
    this.#closedTo = readers === 'wait' ? 'all' : 'writers'
    await answered()
    const inTheWay = this.#isEnded ? undefined : await this.#inTheWay()
    // Given up, or taken, meanwhile.
    if (this.#isEnded) return
    if (inTheWay !== undefined) return this.#giveUp(grant, 'EBUSY', inTheWay)
    const size = this.#file.size()
    if (start >= size) return this.#giveUp(grant, 'ENXIO', 'the file has become too short')
    const bytes = this.#file.copy(start, Math.min(end, size) - start)
    if (typeof bytes === 'number') return this.#giveUp(grant, errnoName(-bytes), 'the bytes cannot be read')
    this.#bytes = bytes
    this.#grantedAtMs = timers.now()
    counts.granted++
    this.#letPass()
    this.connection.send({ type: 'granted', id: this.id, start, length: bytes.length }, bytes.memory)
  }

  /** It may have been given up, or taken, when that is known; the file stays what it is until then. */
  async #inTheWay(): Promise<string | undefined> {
    const file = this.#file.share()
    try {
      return await file.inTheWay()
    } finally {
      file.release()
    }
  }

  /** Publishes the bytes, and gives the grant back; where they cannot be written the holder keeps it. */
  async publish(sync: boolean): Promise<void> {
    const { granted, answered, table } = this.#parts
    const grant = this.#grant
    const bytes = this.#bytes
    if (grant === undefined || bytes === undefined || this.#isPublishing) return this.connection.cutOff()
    this.#isPublishing = true
    const unheard = await this.#recall!.askReaders()
    if (unheard.length > 0 && !this.#isEnded) {
      this.#isPublishing = false
      this.#letRead()
      this.#answer({ code: 'EBUSY', message: withoutAnswer(unheard) })
      return
    }
    if (!this.#isEnded) {
      this.#closedTo = 'all'
      granted.setPassing(this.#record)
    }
    await answered()
    this.#isPublishing = false
    // Its own connection or its deadline has ended it meanwhile.
    const isBegun = table.beginPublish(grant, () => {
      const failure = this.#write(bytes, sync)
      void this.#published(grant, failure)
    })
    if (!isBegun) this.#answer({ code: 'ESTALE', message: 'the grant has been taken' })
  }

  #write(bytes: GrantBytes, sync: boolean): Failure | undefined {
    try {
      const error = bytes.publish(this.connection.peer, sync)
      if (error < 0)
        return { code: errnoName(-error), message: 'the bytes could not be written; the file is as it was' }
      this.#parts.counts.published++
      this.#isTakenIfEnded = false
      return undefined
    } catch (error) {
      return { code: 'EIO', message: String(error) }
    }
  }

  /** It has been written, or not, and nobody has seen it yet. */
  async #published(grant: Grant, failure: Failure | undefined): Promise<void> {
    const { table } = this.#parts
    const { start, length } = this.#bytes!
    const file = this.#file.share()
    table.endPublish(grant)
    if (failure === undefined) table.release(grant)
    else if (!this.#isEnded) {
      this.#letRead()
      this.#letPass()
    }
    // Whoever has his turn now may be what the kernel waits for before it drops a page; what it fills from now on is new.
    // Also what failed may have been there for a moment.
    await file.forgetCopies(start, length)
    file.release()
    this.#answer(failure)
  }

  /** The holder gives it up, or waits for it no more. */
  abandon(): void {
    this.#isTakenIfEnded = false
    if (this.#grant !== undefined) {
      this.#parts.table.release(this.#grant)
      this.#answer()
    } else this.#takeBack()
  }

  /** The holder is gone. */
  drop(): void {
    this.#isTakenIfEnded = false
    if (this.#grant !== undefined) this.#parts.table.release(this.#grant)
    else this.#takeBack()
  }

  /** Asks the holder to give it up, and takes it when the time is over. Resolves when it has ended. */
  revoke(deadlineMs: number): Promise<'given back' | 'taken'> {
    const end = new Promise<'given back' | 'taken'>((resolve) => this.#ends.push(resolve))
    this.#parts.table.revoke(this.#grant!, deadlineMs)
    return end
  }

  /** Whether a request that waits for nobody is refused, for the holder has the range, or is about to get it. One that comes before is let in, however many wait: it holds up nobody. */
  keepsOut(writes: boolean): boolean {
    return this.#closedTo === 'all' || (writes && this.#closedTo === 'writers')
  }

  /** It was not published: who reads what was published last may go on. */
  #letRead(): void {
    if (this.#want.readers === 'wait') return
    this.#closedTo = 'writers'
    this.#recall!.letReaders()
  }

  /** From now on, until it is published, who may read what was published last does. */
  #letPass(): void {
    const passing = this.#want.readers === 'wait' ? [TOUCHER.MAPPING] : [TOUCHER.MAPPING, TOUCHER.READER]
    this.#parts.granted.setPassing(this.#record, ...passing)
  }

  #refuse(code: string, message: string): void {
    this.#parts.counts.refused++
    this.connection.send({ type: 'refused', id: this.id, code, message })
    this.#ended()
  }

  #giveUp(grant: Grant, code: string, message: string): void {
    if (this.#isEnded) return
    this.#isTakenIfEnded = false
    this.#parts.counts.refused++
    this.connection.send({ type: 'refused', id: this.id, code, message })
    this.#parts.table.release(grant)
  }

  #answer(failure?: Failure): void {
    this.connection.send({ type: 'ended', id: this.id, ...failure })
  }

  #ended(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#closedTo = 'nobody'
    this.#recall?.end()
    const how = this.#isTakenIfEnded ? 'taken' : 'given back'
    if (how === 'taken') {
      this.#parts.counts.taken++
      if (this.isHeld) this.connection.send({ type: 'taken', id: this.id })
      else this.connection.send({ type: 'refused', id: this.id, code: 'ESTALE', message: 'it was revoked at once' })
    }
    if (this.#record >= 0) this.#parts.granted.remove(this.#record)
    this.#bytes?.close()
    this.#file.release()
    for (const end of this.#ends) end(how)
    this.#done()
  }
}

function withoutAnswer(caches: readonly GrantPeer[]): string {
  const pids = caches.map(({ peer }) => peer.pid).join(', ')
  return `a cache of process ${pids} has the file open and does not give the range up: let that go on, or end it`
}

const WHY = {
  EAGAIN: 'somebody else has it, and this was not to wait',
  ETIMEDOUT: 'somebody else has had it for all the time that this was to wait',
  EDEADLK: 'who has it waits for this one',
  ECANCELED: 'it is not waited for any more',
  ENOTCONN: 'the mount has ended',
} as const

function whatIsWrong(start: number, end: number, size: number): [code: string, message: string] | undefined {
  if (size < 0) return [errnoName(-size), 'the file cannot be looked at']
  if (start >= size) return ['ENXIO', `the file has ${size} bytes, so there is nothing from ${start} on`]
  if (start % PAGE_BYTES !== 0 || (end % PAGE_BYTES !== 0 && end < size))
    return ['EINVAL', `a range begins and ends with a page (${PAGE_BYTES} bytes), or ends with the file`]
  if (end <= start) return ['EINVAL', 'the range is empty']
  if (Math.min(end, size) - start > GRANT_BYTES_MAX)
    return ['EFBIG', `a grant can have ${GRANT_BYTES_MAX} bytes at most`]
  return undefined
}
