/**
 * The turn of each request that touches what is somebody's, or is wanted: it is run, refused, or waits in the grant table.
 *
 * Pure. Context: the grants' thread.
 */
import type { GrantTable } from '../../cache/grants/grant-table.ts'
import { ERRNO } from '../../linux/errors.ts'
import type { Holdings, Touch } from './holdings.ts'

/** A request, as far as its turn is concerned. */
interface Asking {
  /** Two where it copies: it waits for one after the other, until both are free. */
  readonly touches: readonly Touch[]
  /** Whose grants are not in its way. */
  readonly holder: string | undefined
  /** It is refused with EAGAIN rather than that it waits. */
  readonly isImpatient: boolean
  /** Answers it, at once. */
  readonly run: () => void
  readonly refuse: (errno: number) => void
  /** It waits from now on; `interrupt` is to be called where a signal is to end it. */
  readonly waits: (interrupt: () => void) => void
}

export class Turns {
  readonly #table: GrantTable
  readonly #holdings: Holdings
  readonly #later: (run: () => void) => void

  /** `later`: calls when the calls that are due now have been made. */
  constructor(table: GrantTable, holdings: Holdings, later: (run: () => void) => void) {
    this.#table = table
    this.#holdings = holdings
    this.#later = later
  }

  /** Lets a request take its turn. */
  take({ touches, holder, isImpatient, run, refuse, waits }: Asking): void {
    if (isImpatient) {
      if (touches.some((touch) => this.#holdings.keepsOut(touch, holder))) refuse(ERRNO.EAGAIN)
      else run()
      return
    }
    let isInterrupted = false
    const goOn = (): void => {
      const next = touches.find((touch) => !this.#isFree(touch, holder))
      if (next === undefined) run()
      else if (isInterrupted) refuse(ERRNO.EINTR)
      else wait(next)
    }
    const wait = (touch: Touch): void => {
      let isAnswered = false
      const takeBack = this.#table.enter({
        ...touch,
        holder,
        wait: true,
        onRefused(code) {
          isAnswered = true
          // Who hears of a signal that there was none of asks again, for ever.
          refuse(code === 'EDEADLK' ? ERRNO.EDEADLK : ERRNO.EINTR)
        },
        onEntered: (leave) => {
          isAnswered = true
          if (touches.length === 1) run()
          else this.#later(goOn)
          leave()
        },
      })
      if (!isAnswered)
        waits(() => {
          isInterrupted = !takeBack()
        })
    }
    goOn()
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
}
