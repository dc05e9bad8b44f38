/**
 * Changes that have to be noticed once more: an answer that was being made meanwhile may carry what was so before. It holds two batches:
 * one waits until the requests that were in hand when it was closed have been answered, the other gathers what comes until then.
 */
import type { FileEvent } from '../linux/fanotify.ts'
import type { Crew } from './crew.ts'

/** More than that are not remembered one by one. */
const EVENTS_MAX = 4096

/** Who is told: see {@link Noticing}. */
interface Notices {
  notice(event: FileEvent): void
  noticeAll(): void
}

export class SecondLook {
  readonly #crew: Crew
  readonly #notices: Notices
  #gathering = new Batch()
  #waiting: Batch | undefined
  /** Of the crew, when what waits began to. */
  #inHand: readonly number[] = []

  constructor(crew: Crew, notices: Notices) {
    this.#crew = crew
    this.#notices = notices
  }

  /** Whether {@link take} has to be called again soon. */
  get isWaiting(): boolean {
    return this.#waiting !== undefined
  }

  /** Events that have been noticed once; after they were read, for what is asked from then on is answered right. */
  add(events: readonly FileEvent[]): void {
    if (!this.#crew.isBusy) return
    this.#gathering.add(events)
    this.#close()
  }

  /** Everything has been noticed once. */
  addAll(): void {
    if (!this.#crew.isBusy) return
    this.#gathering.isAll = true
    this.#close()
  }

  /** Notices again what was added, as far as its time has come. */
  take(): void {
    const batch = this.#waiting
    if (batch === undefined || !this.#crew.haveAnswered(this.#inHand)) return
    this.#waiting = undefined
    this.#close()
    if (batch.isAll) this.#notices.noticeAll()
    else for (const event of batch.events) this.#notices.notice(event)
  }

  /** Lets what has been gathered wait, unless another batch still does. */
  #close(): void {
    if (this.#waiting !== undefined || this.#gathering.isEmpty) return
    this.#waiting = this.#gathering
    this.#gathering = new Batch()
    this.#inHand = this.#crew.inHand()
  }
}

class Batch {
  readonly events: FileEvent[] = []
  /** Instead of these events: everything. */
  isAll = false

  get isEmpty(): boolean {
    return this.events.length === 0 && !this.isAll
  }

  add(events: readonly FileEvent[]): void {
    if (this.events.length + events.length > EVENTS_MAX) this.isAll = true
    if (!this.isAll) this.events.push(...events)
  }
}
