/**
 * fsync(2) of an inode whose users share a descriptor. The kernel tells each descriptor once of what could not be written back; this tells each user, as its errseq_t (lib/errseq.c)
 * would if each had a descriptor of his own.
 *
 * ```
 *   asked ──▶ next: one call for all who ask until it begins ──▶ under way, one at a time ──▶ settled for all of them
 * ```
 * Who asks while a call is under way shares the next one, never that one: it may have begun before his bytes were in the file. So databases whose transactions end together commit together (group
 * commit). One at a time, for the error of one may be that of the next. Who wants the data only is served by a call that syncs all, not the other way round: so the next one syncs all as soon as
 * one of its users wants that.
 *
 * Context: the keeper's thread.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'

const fsync = promisify(fs.fsync)
const fdatasync = promisify(fs.fdatasync)

/** What says that bytes were lost. Other errors are of the call alone. */
const LOSSES: readonly (string | undefined)[] = ['EIO', 'ENOSPC', 'EDQUOT']

/** What one user has heard of: the number of losses. */
export interface Heard {
  losses: number
}

/** fsync(2) or fdatasync(2). */
export type SyncCall = (fd: number, dataOnly: boolean) => Promise<void>

const systemSync: SyncCall = (fd, dataOnly) => (dataOnly ? fdatasync(fd) : fsync(fd))

/** A call that has not begun. */
interface NextCall {
  dataOnly: boolean
  readonly settled: Promise<void>
}

export class FileSyncs {
  #losses = 0
  #last: NodeJS.ErrnoException | undefined
  readonly #call: SyncCall
  #next: NextCall | undefined
  /** Resolves when no call is under way. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(call = systemSync) {
    this.#call = call
  }

  /** For who opens the file now: of what was lost before he hears nothing. */
  heard(): Heard {
    return { losses: this.#losses }
  }

  /** Rejects with the system's error, also where it was told to another user since this one was told last. */
  async sync(fd: number, dataOnly: boolean, user: Heard): Promise<void> {
    await this.write(fd, dataOnly).finally(() => this.#tell(user, dataOnly))
  }

  /** The same, blocking. What one that is under way meets the next one tells. */
  syncSync(fd: number, dataOnly: boolean, user: Heard): void {
    try {
      if (dataOnly) fs.fdatasyncSync(fd)
      else fs.fsyncSync(fd)
    } catch (error) {
      throw this.#noted(error)
    } finally {
      this.#tell(user, dataOnly)
    }
  }

  /** For who is no user: rejects with the system's error, of which the users hear later. `fd` stays open until it is settled. */
  async write(fd: number, dataOnly: boolean): Promise<void> {
    this.#next ??= this.#afterThisTurn(fd)
    this.#next.dataOnly &&= dataOnly
    await this.#next.settled.catch((error: unknown) => {
      throw asCalled(error as NodeJS.ErrnoException, dataOnly)
    })
  }

  #afterThisTurn(fd: number): NextCall {
    const settled = this.#turn.then(async () => {
      this.#next = undefined
      try {
        await this.#call(fd, next.dataOnly)
      } catch (error) {
        throw this.#noted(error)
      }
    })
    const next: NextCall = { dataOnly: true, settled }
    this.#turn = settled.catch(() => {})
    return next
  }

  #noted(error: unknown): unknown {
    if (LOSSES.includes((error as NodeJS.ErrnoException).code)) {
      this.#losses++
      this.#last = error as NodeJS.ErrnoException
    }
    return error
  }

  #tell(user: Heard, dataOnly: boolean): void {
    if (user.losses === this.#losses) return
    user.losses = this.#losses
    throw asCalled(this.#last!, dataOnly)
  }
}

/** The error for one of those who hear of it: by the call that he made, whichever served him. He adds the path by which he knows the file. */
function asCalled(error: NodeJS.ErrnoException, dataOnly: boolean): NodeJS.ErrnoException {
  const syscall = dataOnly ? 'fdatasync' : 'fsync'
  return Object.assign(new Error(error.message.replace(/f(data)?sync$/, syscall)), error, { syscall })
}
