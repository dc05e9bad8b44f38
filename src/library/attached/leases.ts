/**
 * What an attached cache gives up for a while, because the mount is about to grant it to somebody: in this process or any other.
 *
 * ```
 *   recall, readers wait           what is cached of the range is dropped, and nothing of it is cached any more    → the mount is answered
 *   recall, last-published         nothing                                                                        → the mount is answered
 *     … and then: readers wait     as above                                                                       → the mount is answered
 *     … or again: last-published   it may be cached again
 *   restore                        it may be cached again
 *   the mount is gone              nothing is cached any more
 * ```
 * The answer waits for nobody. Reads and writes of the mount that are under way come before the grant there, or are refused (their descriptors have O_NONBLOCK) and made again when the range
 * is restored. Until then they wait here, in the cache's own table: for a grant of the range, whose holder is the mount. So none is tried in vain again and again, and all have their turn in order.
 *
 * Pure. Context: the keeper's thread.
 */
import type { Grant, GrantAuthority, GrantReaders, PassageWish, TakeBack } from '../../cache/grants/grant-authority.ts'

/** A range of pages to be given up. */
interface LeaseRecall {
  readonly id: number
  readonly file: string
  readonly from: number
  readonly to: number
  readonly readers: GrantReaders
}

export interface LeaseEvents {
  /** Nothing of pages [from, to) of the file is cached from now on, until the returned function is called. */
  readonly keepOut: (file: string, from: number, to: number) => () => void
}

interface Recalled {
  recall: LeaseRecall
  /** Lets it be cached again. */
  letIn: (() => void) | undefined
  /** Lets those who wait have their turn. */
  endWait: () => void
}

/** Which passages are let in, besides. */
export class Leases implements Pick<GrantAuthority, 'enter' | 'isQuiet'> {
  readonly #table: GrantAuthority
  readonly #events: LeaseEvents
  readonly #recalls = new Map<number, Recalled>()
  #waits = 0
  #isLost = false

  /** `table`: takes nothing from holders by itself. */
  constructor(table: GrantAuthority, events: LeaseEvents) {
    this.#table = table
    this.#events = events
  }

  enter(wish: PassageWish): TakeBack {
    if (!this.#isLost) return this.#table.enter(wish)
    wish.onRefused('ENOTCONN')
    return () => false
  }

  isQuiet(file: string): boolean {
    return !this.#isLost && this.#table.isQuiet(file)
  }

  /** When it returns nobody finds any of it in this cache any more; with `last-published`, nobody shall change it. */
  recall(recall: LeaseRecall): void {
    const known = this.#recalls.get(recall.id)
    const endWait = this.#makeWait(recall)
    const recalled: Recalled = known ?? { recall, letIn: undefined, endWait }
    this.#recalls.set(recall.id, recalled)
    if (known !== undefined) {
      // Who waits tries again, and waits again where he still has to.
      known.endWait()
      known.recall = recall
      known.endWait = endWait
    }
    const { file, from, to, readers } = recall
    if (readers === 'wait') recalled.letIn ??= this.#events.keepOut(file, from, to)
    else this.#letIn(recalled)
  }

  /** The grant has ended. Without effect where it is not known. */
  restore(id: number): void {
    const recalled = this.#recalls.get(id)
    if (recalled === undefined) return
    this.#recalls.delete(id)
    this.#letIn(recalled)
    recalled.endWait()
  }

  /** The cache has the file open no more: the mount has forgotten that it ever asked. */
  left(file: string): void {
    for (const { recall } of [...this.#recalls.values()]) if (recall.file === file) this.restore(recall.id)
  }

  /** Nobody tells this cache of grants any more: nothing of `files` is cached. */
  lost(files: Iterable<string>): void {
    this.#isLost = true
    for (const file of files) this.#events.keepOut(file, 0, Number.POSITIVE_INFINITY)
    for (const id of [...this.#recalls.keys()]) this.restore(id)
  }

  #letIn(recalled: Recalled): void {
    recalled.letIn?.()
    recalled.letIn = undefined
  }

  /** All who come from now on wait. The next wait of a range is wanted before the last one has ended, so each has a holder of its own. */
  #makeWait({ file, from, to, readers }: LeaseRecall): () => void {
    let held: Grant | undefined
    const takeBack = this.#table.request({
      file,
      from,
      to,
      holder: `the mount ${++this.#waits}`,
      readers,
      wait: true,
      onGranted: (grant) => (held = grant),
      onRefused: () => {},
    })
    return () => {
      if (held === undefined) takeBack()
      else this.#table.release(held)
    }
  }
}
