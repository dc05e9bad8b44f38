/** The grants of one thread, at its door: by number, so that they can be named in messages. Context: the keeper's thread. */
import type { TakeBack } from '../../cache/grants/grant-authority.ts'
import type { CachedInode } from '../cached-inode.ts'
import { systemError } from '../errors.ts'
import type { ExclusiveWish, Grants, HeldGrant } from './grants.ts'

/** A grant as its holder gets it; can be sent. */
export interface NumberedGrant {
  readonly grant: number
  readonly bytes: Uint8Array
}

interface Entry {
  /** The open file that it came through. */
  readonly file: number
  /** While it waits. */
  takeBack: TakeBack | undefined
  held: HeldGrant | undefined
}

export class DoorGrants {
  readonly #grants: Grants
  readonly #thread: number
  /** Calls the holder: others want grant `number`. */
  readonly #onRevoke: (number: number, deadlineMs: number) => void
  readonly #entries = new Map<number, Entry>()

  constructor(grants: Grants, thread: number, onRevoke: (number: number, deadlineMs: number) => void) {
    this.#grants = grants
    this.#thread = thread
    this.#onRevoke = onRevoke
  }

  /** `number`: of the thread's choosing, and new. `holder`: a name within the thread; undefined: one that nobody else has. */
  async request(
    number: number,
    file: number,
    inode: CachedInode,
    holder: string | undefined,
    wish: ExclusiveWish,
  ): Promise<NumberedGrant> {
    const entry: Entry = { file, takeBack: undefined, held: undefined }
    this.#entries.set(number, entry)
    const name = holder === undefined ? `${this.#thread}#${number}` : `${this.#thread}:${holder}`
    try {
      const held = await this.#grants.grant(inode, name, wish, {
        onRevoke: (deadlineMs) => this.#onRevoke(number, deadlineMs),
        onWaiting: (takeBack) => (entry.takeBack = takeBack),
      })
      entry.takeBack = undefined
      if (!this.#entries.has(number)) {
        // Nobody wants it any more.
        held.release()
        throw systemError('ECANCELED', 'it was taken back, or its holder is gone', 'exclusive', inode.path)
      }
      entry.held = held
      return { grant: number, bytes: held.bytes }
    } catch (error) {
      this.#entries.delete(number)
      throw error
    }
  }

  /** The open file that the grant came through; undefined where it has ended. */
  fileOf(number: number): number | undefined {
    return this.#entries.get(number)?.file
  }

  async publish(number: number, bytes: Uint8Array, sync: boolean): Promise<void> {
    const held = this.#entries.get(number)?.held
    if (held === undefined) throw staleError()
    await held.publish(bytes, sync)
    this.#entries.delete(number)
  }

  /** Ends the grant, or takes the wish back. */
  abandon(number: number): void {
    const entry = this.#entries.get(number)
    if (entry === undefined) return
    this.#entries.delete(number)
    entry.takeBack?.()
    entry.held?.release()
  }

  /** The open file is closed, or with no number all are: so end its grants. */
  close(file?: number): void {
    for (const [number, entry] of [...this.#entries])
      if (file === undefined || entry.file === file) this.abandon(number)
  }
}

function staleError(): Error {
  return Object.assign(new Error('ESTALE: the grant has ended'), { code: 'ESTALE', syscall: 'publish' })
}
