/**
 * What an attached cache gives up for a while, because the mount is about to grant it to somebody: in this process or any other. Here each such range is a grant of the cache's own table, whose
 * holder is the mount: so reads and writes under way end first, those that come later wait in their order, and what is cached is dropped before the mount gets its answer.
 *
 * ```
 *   recall, readers wait             granted by the table → pages dropped → answer     restore: ended
 *   recall, last-published           granted by the table → answer
 *     … and then: readers wait       readers inside leave → pages dropped → answer     restore: ended
 *     … or again: last-published     readers are let in
 *   the mount is gone                what is cached is dropped, nobody is let in any more
 * ```
 * The mount never asks for a range twice at a time, so its grants do not wait for each other here.
 *
 * Pure. Context: the keeper's thread.
 */
import type { Grant, GrantAuthority, GrantReaders, PassageWish, TakeBack } from '../../cache/grants/grant-authority.ts'

/** A range of pages to be given up. */
export interface LeaseRecall {
  readonly id: number
  readonly file: string
  readonly from: number
  readonly to: number
  readonly readers: GrantReaders
}

export interface LeaseEvents {
  /** Nothing of pages [from, to) of the file may be cached any more. */
  readonly drop: (file: string, from: number, to: number) => void
}

interface Recalled {
  readonly recall: LeaseRecall
  takeBack: TakeBack
  grant: Grant | undefined
  /** Of readers: `leaving`, those inside are waited for. */
  readers: 'in' | 'leaving' | 'out'
  /** Who is to know that they have left; undefined: they are let in again then. */
  given: (() => void) | undefined
}

const EVERYTHING = Number.POSITIVE_INFINITY

/** Which passages are let in, besides. */
export class Leases implements Pick<GrantAuthority, 'enter' | 'isQuiet'> {
  readonly #table: GrantAuthority
  readonly #events: LeaseEvents
  readonly #recalls = new Map<number, Recalled>()
  #isLost = false

  /** `table`: takes nothing from holders by itself. */
  constructor(table: GrantAuthority, events: LeaseEvents) {
    this.#table = table
    this.#events = events
  }

  get isLost(): boolean {
    return this.#isLost
  }

  enter(wish: PassageWish): TakeBack {
    if (!this.#isLost) return this.#table.enter(wish)
    wish.onRefused('ENOTCONN')
    return () => false
  }

  isQuiet(file: string): boolean {
    return !this.#isLost && this.#table.isQuiet(file)
  }

  /** `given`: nobody reads or writes the range through this cache any more, or with `last-published` nobody writes it. */
  recall(recall: LeaseRecall, given: () => void): void {
    const known = this.#recalls.get(recall.id)
    if (known !== undefined) {
      if (recall.readers === 'wait') this.#keepReadersOut(known, given)
      else this.#letReadersIn(known)
      return
    }
    const { id, file, from, to, readers } = recall
    const recalled: Recalled = { recall, takeBack: () => false, grant: undefined, readers: 'in', given: undefined }
    this.#recalls.set(id, recalled)
    recalled.takeBack = this.#table.request({
      file,
      from,
      to,
      holder: `the mount ${id}`,
      readers,
      wait: true,
      onGranted: (grant) => {
        recalled.grant = grant
        if (readers === 'wait') this.#events.drop(file, from, to)
        given()
      },
      onRefused: () => {},
    })
  }

  /** The grant has ended. Without effect where it is not known. */
  restore(id: number): void {
    const recalled = this.#recalls.get(id)
    if (recalled === undefined) return
    this.#recalls.delete(id)
    const { recall, grant } = recalled
    if (grant === undefined) {
      recalled.takeBack()
      return
    }
    // Who reads past the cache on another thread, and began before now, reads again.
    if (recall.readers === 'wait' || recalled.readers === 'out') this.#events.drop(recall.file, recall.from, recall.to)
    if (recalled.readers === 'out') this.#table.endPublish(grant)
    this.#table.release(grant)
  }

  /** The cache has the file open no more: the mount has forgotten that it ever asked. */
  left(file: string): void {
    for (const { recall } of [...this.#recalls.values()]) if (recall.file === file) this.restore(recall.id)
  }

  /** Nobody tells this cache of grants any more: nothing of `files` may be cached. */
  lost(files: Iterable<string>): void {
    this.#isLost = true
    for (const id of [...this.#recalls.keys()]) this.restore(id)
    for (const file of files) {
      this.#events.drop(file, 0, EVERYTHING)
      // And what those bring who are still inside.
      this.#table.request({
        file,
        from: 0,
        to: EVERYTHING,
        holder: 'the mount',
        readers: 'wait',
        wait: true,
        onGranted: () => this.#events.drop(file, 0, EVERYTHING),
        onRefused: () => {},
      })
    }
  }

  #keepReadersOut(recalled: Recalled, given: () => void): void {
    const { recall, grant } = recalled
    recalled.given = given
    if (recalled.readers !== 'in' || grant === undefined) return
    recalled.readers = 'leaving'
    this.#table.beginPublish(grant, () => {
      recalled.readers = 'out'
      this.#events.drop(recall.file, recall.from, recall.to)
      // Not wanted any more: it has ended meanwhile, or was not published.
      if (this.#recalls.get(recall.id) !== recalled || recalled.given === undefined) this.#endPublish(recalled, grant)
      else recalled.given()
    })
  }

  #letReadersIn(recalled: Recalled): void {
    recalled.given = undefined
    if (recalled.readers === 'out') this.#endPublish(recalled, recalled.grant!)
  }

  #endPublish(recalled: Recalled, grant: Grant): void {
    recalled.readers = 'in'
    this.#table.endPublish(grant)
  }
}
