/**
 * Caches of other processes that are clients of this mount: which files they have open, and how they give up ranges of them before somebody is granted those. What NFSv4 calls the recall of a
 * delegation, and SMB the break of a lease; only that a cache which does not answer is not overruled: then nobody is granted the range.
 *
 * Pure. Context: the grants' thread.
 */
import type { GrantReaders, Timers } from '../../cache/grants/grant-authority.ts'
import { RECALL_MS } from '../../exclusive/messages.ts'
import type { GrantFile, GrantPeer } from './grant-file.ts'
import type { GrantedRanges } from './granted-ranges.ts'
import { Tally } from './tally.ts'

/** Files that one connection may have open: more than a cache can. */
const ATTENDED_MAX = 8192
/** Different ones that all connections of one user may, if that is not root: others are to have some, too. */
const FILES_OF_USER_MAX = 65_536

/** A cache has a file open. */
interface Attendant {
  readonly connection: GrantPeer
  /** The connection's name for it. */
  readonly id: number
  readonly file: AttendedFile
}

/** A file that caches have open. */
interface AttendedFile {
  readonly shown: GrantFile
  readonly attendants: Set<Attendant>
}

/** Bytes [start, end) of the file `key`. */
interface Bytes {
  readonly key: string
  readonly start: number
  readonly end: number
}

/** A range that caches are to give up, until {@link end}. */
export class Recall {
  readonly id: number
  readonly range: Bytes
  readers: GrantReaders
  /** Who have to answer yet. */
  readonly #waited = new Set<Attendant>()
  readonly #told = new Set<Attendant>()
  readonly #timers: Timers
  readonly #ended: () => void
  #answered: () => void = () => {}
  /** Of the question that was asked last: late answers to others count for nothing. */
  #turn = 0

  constructor(id: number, range: Bytes, readers: GrantReaders, timers: Timers, ended: () => void) {
    this.id = id
    this.range = range
    this.readers = readers
    this.#timers = timers
    this.#ended = ended
  }

  /** From now on also of an attendant that has cached nothing yet, so there is nothing to wait for. */
  tell(attendant: Attendant): void {
    const { id, range, readers } = this
    const turn = this.#turn
    const { start, end } = range
    this.#told.add(attendant)
    attendant.connection.send({ type: 'recall', id, turn, file: attendant.id, start, end, readers })
  }

  /** Resolves when all of them have answered; with those who have not within `patienceMs`. */
  async ask(attendants: Iterable<Attendant>, patienceMs = RECALL_MS): Promise<GrantPeer[]> {
    this.#turn++
    for (const attendant of attendants) {
      this.#waited.add(attendant)
      this.tell(attendant)
    }
    if (this.#waited.size === 0) return []
    await new Promise<void>((resolve) => {
      const stopWaiting = this.#timers.after(patienceMs, resolve)
      this.#answered = () => {
        if (this.#waited.size > 0) return
        stopWaiting()
        resolve()
      }
    })
    const silent = [...this.#waited].map(({ connection }) => connection)
    this.#waited.clear()
    return silent
  }

  /** It is about to be published: readers give it up, too. Resolves as {@link ask}. */
  askReaders(): Promise<GrantPeer[]> {
    if (this.readers === 'wait') return Promise.resolve([])
    this.readers = 'wait'
    return this.ask([...this.#told])
  }

  /** It was not published: readers may read what was published last. */
  letReaders(): void {
    this.readers = 'last-published'
    this.#turn++
    for (const attendant of this.#told) this.tell(attendant)
  }

  answered(connection: GrantPeer, turn: number): void {
    if (turn !== this.#turn) return
    for (const attendant of this.#waited) if (attendant.connection === connection) this.#waited.delete(attendant)
    this.#answered()
  }

  /** The attendant is no more. */
  gone(attendant: Attendant): void {
    this.#told.delete(attendant)
    this.#waited.delete(attendant)
    this.#answered()
  }

  /** The grant has ended, or is not wanted any more. */
  end(): void {
    this.#waited.clear()
    this.#answered()
    for (const { connection } of this.#told) connection.send({ type: 'restore', id: this.id })
    this.#told.clear()
    this.#ended()
  }
}

export class AttachedCaches {
  readonly #records: GrantedRanges
  readonly #timers: Timers
  readonly #files = new Map<string, AttendedFile>()
  /** By connection, and its name for the file. */
  readonly #attendants = new Map<GrantPeer, Map<number, Attendant>>()
  /** Different ones, by user. */
  readonly #filesOf = new Tally<number>()
  readonly #recalls = new Map<number, Recall>()
  #lastRecall = 0

  constructor(records: GrantedRanges, timers: Timers) {
    this.#records = records
    this.#timers = timers
  }

  get count(): number {
    return this.#attendants.size
  }

  has(connection: GrantPeer): boolean {
    return this.#attendants.has(connection)
  }

  /** `shown` passes to it. 'wrong': the connection has given that name, or attends the file, already. 'full': it has too many, or its user, or all together have. */
  attend(connection: GrantPeer, id: number, shown: GrantFile): Attendant | 'wrong' | 'full' {
    const own = this.#attendants.get(connection) ?? new Map<number, Attendant>()
    const isWrong = own.has(id) || this.#attends(connection, shown.key)
    const file = isWrong || !this.#hasRoom(connection, own.size, shown.key) ? undefined : this.#fileOf(shown)
    if (file === undefined) {
      shown.release()
      return isWrong ? 'wrong' : 'full'
    }
    const attendant = { connection, id, file }
    const { uid } = connection.peer
    if (!isOfUser(file, uid)) this.#filesOf.add(uid)
    own.set(id, attendant)
    this.#attendants.set(connection, own)
    connection.isCaching = true
    file.attendants.add(attendant)
    for (const recall of this.#recalls.values()) if (recall.range.key === shown.key) recall.tell(attendant)
    return attendant
  }

  leave(connection: GrantPeer, id: number): void {
    const attendant = this.#attendants.get(connection)?.get(id)
    if (attendant !== undefined) this.end(attendant)
  }

  /** No-op where it has left; by the same name it may attend again since. */
  end(attendant: Attendant): void {
    const { connection, id, file } = attendant
    const own = this.#attendants.get(connection)
    if (own?.get(id) !== attendant) return
    own.delete(id)
    if (own.size === 0) this.#attendants.delete(connection)
    file.attendants.delete(attendant)
    if (!isOfUser(file, connection.peer.uid)) this.#filesOf.take(connection.peer.uid)
    for (const recall of this.#recalls.values()) recall.gone(attendant)
    if (file.attendants.size > 0) return
    this.#files.delete(file.shown.key)
    this.#records.removeFile(file.shown.number)
    file.shown.release()
  }

  closed(connection: GrantPeer): void {
    for (const id of [...(this.#attendants.get(connection)?.keys() ?? [])]) this.leave(connection, id)
  }

  answered(connection: GrantPeer, recall: number, turn: number): void {
    this.#recalls.get(recall)?.answered(connection, turn)
  }

  /** Has all caches give up a range. `silent` resolves as {@link Recall.ask}. */
  recall(
    range: Bytes,
    readers: GrantReaders,
    patienceMs = RECALL_MS,
  ): { readonly recall: Recall; readonly silent: Promise<GrantPeer[]> } {
    const id = ++this.#lastRecall
    const recall = new Recall(id, range, readers, this.#timers, () => this.#recalls.delete(id))
    this.#recalls.set(id, recall)
    return { recall, silent: recall.ask(this.#files.get(range.key)?.attendants ?? [], patienceMs) }
  }

  /** Once is enough: each time would be told of each grant, and kept until the connection ends. */
  #attends(connection: GrantPeer, key: string): boolean {
    for (const attendant of this.#files.get(key)?.attendants ?? []) if (attendant.connection === connection) return true
    return false
  }

  #hasRoom({ peer: { uid } }: GrantPeer, count: number, key: string): boolean {
    if (count >= ATTENDED_MAX) return false
    return uid === 0 || this.#filesOf.of(uid) < FILES_OF_USER_MAX || isOfUser(this.#files.get(key), uid)
  }

  #fileOf(shown: GrantFile): AttendedFile | undefined {
    const known = this.#files.get(shown.key)
    if (known !== undefined) {
      shown.release()
      return known
    }
    if (!this.#records.addFile(shown.number)) return undefined
    const file = { shown, attendants: new Set<Attendant>() }
    this.#files.set(shown.key, file)
    return file
  }
}

/** Whether one of the user's connections attends the file. */
function isOfUser(file: AttendedFile | undefined, uid: number): boolean {
  for (const { connection } of file?.attendants ?? []) if (connection.peer.uid === uid) return true
  return false
}
