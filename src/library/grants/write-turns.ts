/**
 * Changes of one file that overlap reach it in the order in which they were called, also where one has to wait for a grant: who overlaps it waits for it, whether anything else is in his way or not.
 * Of those that wait for nothing nobody hears here: combined-writes.ts keeps their order.
 *
 * Context: the keeper's thread.
 */
import { TIMERS } from '../../util/timers.ts'

/** A change of bytes [start, end) that waits, or has waited, for a grant; or may have to yet. */
class WriteTurn {
  readonly start: number
  readonly end: number
  /** For a grant, itself or through others. */
  #isWaiting = false
  #isSettled = false
  /** Resolves at the next change of these. */
  #next: Promise<void> | undefined
  #change: () => void = () => {}

  constructor(start: number, end: number) {
    this.start = start
    this.end = end
  }

  waits(): void {
    this.#isWaiting = true
    this.#tell()
  }

  enters(): void {
    this.#isWaiting = false
  }

  settles(): void {
    this.#isSettled = true
    this.#tell()
  }

  /** Resolves when all of `earlier` are settled. False: one of them waits for a grant, and it is time, or this one does not `wait`. */
  async follow(earlier: readonly WriteTurn[], wait: boolean, deadlineMs: number): Promise<boolean> {
    for (const turn of earlier)
      while (!turn.#isSettled) {
        const restMs = deadlineMs - TIMERS.now()
        if (!turn.#isWaiting) await turn.#nextChange()
        else if (!wait || restMs <= 0) return false
        else {
          this.waits()
          let stop = (): void => {}
          await Promise.race([turn.#nextChange(), new Promise<void>((late) => (stop = TIMERS.after(restMs, late)))])
          stop()
          this.enters()
        }
      }
    return true
  }

  #nextChange(): Promise<void> {
    this.#next ??= new Promise((resolve) => (this.#change = resolve))
    return this.#next
  }

  #tell(): void {
    this.#change()
    this.#next = undefined
  }
}

/** Those of all files that are not settled. */
export class WriteTurns<File> {
  readonly #turns = new Map<File, Set<WriteTurn>>()

  /** Those that overlap bytes [start, end) of the file; undefined: there are none. */
  overlapping(file: File, start: number, end: number): WriteTurn[] | undefined {
    const turns = this.#turns.get(file)
    if (turns === undefined) return undefined
    const earlier = [...turns].filter((turn) => turn.start < end && start < turn.end)
    return earlier.length > 0 ? earlier : undefined
  }

  begin(file: File, start: number, end: number): WriteTurn {
    const turn = new WriteTurn(start, end)
    const turns = this.#turns.get(file)
    if (turns === undefined) this.#turns.set(file, new Set([turn]))
    else turns.add(turn)
    return turn
  }

  end(file: File, turn: WriteTurn): void {
    turn.settles()
    const turns = this.#turns.get(file)
    turns?.delete(turn)
    if (turns?.size === 0) this.#turns.delete(file)
  }
}
