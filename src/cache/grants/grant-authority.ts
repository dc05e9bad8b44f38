/**
 * Grants: pages that are exclusively somebody's, for a while. What whoever decides on them is asked, and answers.
 *
 * - **grant**: a range of pages of a file belongs to one **holder**. No two grants of a page exist at a time.
 * - **passage**: an ordinary read or write goes through a range, and leaves it by itself. Passages do not keep each other out.
 * - Grants and passages of the same pages wait for each other, in the order in which they came.
 * - A holder is sequential: what it waits for it wants all of, and gives nothing back meanwhile. Who wants no such thing takes a name for each grant.
 *
 * Nothing is called by its answer's value but by callbacks, each at most once, perhaps before the call returns: a table in the same thread can answer at
 * once ({@link GrantTable}), one at the other end of a socket later. Callbacks must not throw.
 */

/** Pages [from, to) of a file; `to` may be Infinity. */
export interface PageRange {
  /** Names the file: whoever means the same file says the same. */
  readonly file: string
  readonly from: number
  readonly to: number
}

/**
 * Why a wish is refused: `EAGAIN` it would have had to wait, `ETIMEDOUT` it has waited long enough, `EDEADLK` those whom it would wait for wait for its holder,
 * `ECANCELED` it was taken back, or its holder is gone, `ENOTCONN` whoever decides is gone.
 */
export type RefusalCode = 'EAGAIN' | 'ETIMEDOUT' | 'EDEADLK' | 'ECANCELED' | 'ENOTCONN'

/** What readers do while the pages are granted: wait, or read what was published last. */
export type GrantReaders = 'wait' | 'last-published'

interface Wish extends PageRange {
  /** False: refused with EAGAIN where it would have to wait. */
  readonly wait: boolean
  /** Waits for so long; as long as it takes if not given. */
  readonly timeoutMs?: number | undefined
  readonly onRefused: (code: RefusalCode) => void
}

export interface GrantWish extends Wish {
  /** Who wants it: holders of equal names are one. */
  readonly holder: string
  readonly readers: GrantReaders
  readonly onGranted: (grant: Grant) => void
  /** Others want the pages: the grant is taken in so many milliseconds, unless it is given back before. */
  readonly onRevoke?: ((deadlineMs: number) => void) | undefined
  /** The grant is no more: given back, taken, or its holder is gone. Called before anybody else gets at the pages. */
  readonly onEnded?: (() => void) | undefined
}

export interface PassageWish extends Wish {
  /** Grants of this holder are not in its way, unless they are being published. */
  readonly holder?: string | undefined
  readonly writes: boolean
  /** `leave` is to be called when the read or write is over. */
  readonly onEntered: (leave: () => void) => void
}

/** A grant that was given. Which it is, says the object. */
export interface Grant extends PageRange {
  readonly holder: string
  readonly readers: GrantReaders
}

/** Takes the wish back, where it still waits: it is refused with ECANCELED. False: it was answered, or is just about to be. */
export type TakeBack = () => boolean

export interface GrantAuthority {
  request(wish: GrantWish): TakeBack
  enter(wish: PassageWish): TakeBack
  /** Whether no page of the file is granted or wanted: what is over before anything else happens need not ask. */
  isQuiet(file: string): boolean
  /** Gives the grant back. False: it had ended already. */
  release(grant: Grant): boolean
  /** Asks the holder to give the grant back; `deadlineMs` from now it is taken. One that is being published is taken when that is over. */
  revoke(grant: Grant, deadlineMs: number): void
  /** The grants in the range, whoever holds them. */
  grantsIn(range: PageRange): Grant[]
  /** All grants of the holder end, and what it waits for is refused. What it publishes just now is published. */
  holderGone(holder: string): void
  /**
   * From now on readers of what was published last wait, too; `onReady` when those inside have left: nobody sees what is written until {@link endPublish}, which
   * must follow. False, and nothing happens: the grant has ended (ESTALE), or is being published already.
   */
  beginPublish(grant: Grant, onReady: () => void): boolean
  endPublish(grant: Grant): void
}

/** Time, as a parameter. */
export interface Timers {
  /** In milliseconds, from anywhere on. */
  now(): number
  /** Calls `run` after so many milliseconds, unless the function that it returns is called before. */
  after(ms: number, run: () => void): () => void
}
