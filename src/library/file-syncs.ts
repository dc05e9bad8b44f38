/**
 * fsync(2) of an inode whose users share a descriptor. The kernel tells each descriptor once of what could not be written back; this tells each user, as its errseq_t (lib/errseq.c)
 * would if each had a descriptor of his own.
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

export class FileSyncs {
  #losses = 0
  #last: NodeJS.ErrnoException | undefined
  #turn: Promise<unknown> = Promise.resolve()

  /** For who opens the file now: of what was lost before he hears nothing. */
  heard(): Heard {
    return { losses: this.#losses }
  }

  /** Rejects with the system's error, also where it was told to another user since this one was told last. */
  async sync(fd: number, dataOnly: boolean, user: Heard): Promise<void> {
    await this.write(fd, dataOnly).finally(() => this.#tell(user))
  }

  /** The same, blocking. What one that is under way meets the next one tells. */
  syncSync(fd: number, dataOnly: boolean, user: Heard): void {
    try {
      if (dataOnly) fs.fdatasyncSync(fd)
      else fs.fsyncSync(fd)
    } catch (error) {
      throw this.#noted(error)
    } finally {
      this.#tell(user)
    }
  }

  /** For who is no user: rejects with the system's error, of which the users hear later. One after the other: the error of one may be that of the next. */
  write(fd: number, dataOnly: boolean): Promise<void> {
    const call = dataOnly ? fdatasync : fsync
    const turn = this.#turn.then(() => call(fd)).catch((error: unknown) => Promise.reject(this.#noted(error)))
    this.#turn = turn.catch(() => {})
    return turn
  }

  #noted(error: unknown): unknown {
    if (LOSSES.includes((error as NodeJS.ErrnoException).code)) {
      this.#losses++
      this.#last = copyOf(error as NodeJS.ErrnoException)
    }
    return error
  }

  #tell(user: Heard): void {
    if (user.losses === this.#losses) return
    user.losses = this.#losses
    throw copyOf(this.#last!)
  }
}

/** Each user adds the path by which he knows the file. */
function copyOf(error: NodeJS.ErrnoException): NodeJS.ErrnoException {
  return Object.assign(new Error(error.message), error)
}
