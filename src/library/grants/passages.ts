/**
 * Passages: every load, read past the cache and write of a file goes through its pages when no grant is in the way. See {@link GrantAuthority}.
 *
 * What blocks its thread never waits for a grant: who has it may need that very thread to give it back.
 *
 * Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { GrantAuthority, PassageWish, RefusalCode, TakeBack } from '../../cache/grants/grant-authority.ts'
import type { CachedInode } from '../cached-inode.ts'
import { onAbort } from '../signals.ts'
import { refusedError } from './refused.ts'

/** Ends a passage. */
export type Leave = () => void

/** Who lets reads and writes through. */
export type Gate = Pick<GrantAuthority, 'enter' | 'isQuiet'>

/** A load may go through its first `count` pages. */
export interface LoadPassage {
  readonly count: number
  /** It had to wait for a grant: the next one may come as soon as it has left. */
  readonly hasWaited: boolean
  readonly leave: Leave
}

export class Passages {
  readonly #authority: Gate
  /** For so long anybody waits. */
  readonly waitMs: number
  /** Files are of a mount, which refuses what is granted to somebody: also to who has been let through here. */
  readonly isRefused: boolean

  constructor(authority: Gate, waitMs: number, isRefused = false) {
    this.#authority = authority
    this.waitMs = waitMs
    this.isRefused = isRefused
  }

  /** Runs it until it is not refused any more. In a mount what is granted just now is refused, also to who has waited for his turn here: he has to once more. `wait`: whether he would. */
  async again<T>(wait: boolean, run: () => Promise<T>): Promise<T> {
    for (;;)
      try {
        return await run()
      } catch (error) {
        if (!wait || !this.isRefused || (error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      }
  }

  /**
   * For loading `count` pages from `page` on, of which the first `wanted` are waited for; the others only if nothing is in their way. Rejects with EAGAIN, where it is not to wait, ETIMEDOUT, or ECANCELED
   * where `signal` aborts while it waits: its place in the line is the next one's then.
   */
  async load(
    inode: CachedInode,
    page: number,
    count: number,
    wanted: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<LoadPassage> {
    let hasWaited = false
    const onWaiting = () => (hasWaited = true)
    const leave = await this.#enter(inode, page, page + wanted, false, wait, onWaiting, this.waitMs, signal)
    const leaveAhead = this.#tryEnter(inode, page + wanted, page + count)
    return {
      count: leaveAhead === undefined ? wanted : count,
      hasWaited,
      leave: () => {
        leaveAhead?.()
        leave()
      },
    }
  }

  /** The same, for a load that blocks: throws EAGAIN. */
  loadSync(inode: CachedInode, page: number, count: number, wanted: number): LoadPassage {
    if (this.#authority.isQuiet(inode.key)) return { count, hasWaited: false, leave: NOTHING_TO_LEAVE }
    const leave = this.#enterSync(inode, page, page + wanted, false)
    const isFree = this.#tryEnter(inode, page + wanted, page + count)
    isFree?.()
    return { count: isFree === undefined ? wanted : count, hasWaited: false, leave }
  }

  /** Has `read` read pages [from, to) of the file past the cache, blocking. Throws EAGAIN. */
  readSync<T>(inode: CachedInode, from: number, to: number, read: () => T): T {
    const leave = this.#enterSync(inode, from, to, false)
    try {
      return read()
    } finally {
      leave()
    }
  }

  /** For changing bytes [start, end) of the file; `end` may be Infinity. `onWaiting` is called where it has to wait. */
  async change(
    inode: CachedInode,
    start: number,
    end: number,
    wait: boolean,
    onWaiting?: () => void,
    waitMs = this.waitMs,
  ): Promise<Leave> {
    for (;;) {
      const { from, to } = pagesOf(inode, start, end)
      const leave = await this.#enter(inode, from, to, true, wait, onWaiting, waitMs)
      // The file may have become shorter meanwhile: then there is more to change.
      if (pagesOf(inode, start, end).from >= from) return leave
      leave()
    }
  }

  changeSync(inode: CachedInode, start: number, end: number): Leave {
    const { from, to } = pagesOf(inode, start, end)
    return this.#enterSync(inode, from, to, true)
  }

  #enter(
    inode: CachedInode,
    from: number,
    to: number,
    writes: boolean,
    wait: boolean,
    onWaiting?: () => void,
    timeoutMs = this.waitMs,
    signal?: AbortSignal,
  ): Promise<Leave> {
    return new Promise((resolve, reject) => {
      const refuse = (code: RefusalCode) => reject(refusedError(code, writes ? 'write' : 'read', inode.path))
      // It never tells of having been aborted.
      if (signal?.aborted) return refuse('ECANCELED')
      let isAnswered = false
      let takeBack: TakeBack | undefined
      let unheard: (() => void) | undefined
      const answered = () => {
        isAnswered = true
        unheard?.()
      }
      takeBack = this.#authority.enter({
        ...rangeOf(inode, from, to),
        writes,
        wait,
        timeoutMs,
        onEntered: (leave) => {
          answered()
          resolve(leave)
        },
        onRefused: (code) => {
          answered()
          refuse(code)
        },
      })
      if (isAnswered) return
      unheard = signal && onAbort(signal, () => takeBack?.())
      onWaiting?.()
    })
  }

  #enterSync(inode: CachedInode, from: number, to: number, writes: boolean): Leave {
    // Nobody can ask for a grant before this has left.
    if (this.#authority.isQuiet(inode.key)) return NOTHING_TO_LEAVE
    let why: RefusalCode = 'EAGAIN'
    const leave = this.#tryEnter(inode, from, to, writes, (code) => (why = code))
    if (leave === undefined) throw refusedError(why, writes ? 'write' : 'read', inode.path)
    return leave
  }

  #tryEnter(
    inode: CachedInode,
    from: number,
    to: number,
    writes = false,
    onRefused: (code: RefusalCode) => void = () => {},
  ): Leave | undefined {
    let entered: Leave | undefined
    const onEntered = (leave: Leave) => (entered = leave)
    this.#authority.enter({ ...rangeOf(inode, from, to), writes, wait: false, onEntered, onRefused })
    return entered
  }
}

const NOTHING_TO_LEAVE = (): void => {}

function rangeOf({ key }: CachedInode, from: number, to: number): Pick<PassageWish, 'file' | 'from' | 'to'> {
  return { file: key, from, to }
}

/** Pages that a change of bytes [start, end) changes: what lies between the file's end and a write behind it becomes zeros. */
function pagesOf(inode: CachedInode, start: number, end: number): { readonly from: number; readonly to: number } {
  return { from: Math.floor(Math.min(start, inode.size) / PAGE_BYTES), to: Math.ceil(end / PAGE_BYTES) }
}
