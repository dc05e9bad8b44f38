/**
 * The files of a mount that a cache has open: of their grants it is told, and gives up what others are about to be granted (leases.ts).
 *
 * Pure. Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { FileInMount, GrantClient } from '../../exclusive/grant-client.ts'
import type { RecallMessage } from '../../exclusive/messages.ts'
import type { Leases } from './leases.ts'

/** The mount is told that a file is open here, as often as it is. */
interface Attended {
  readonly id: number
  users: number
  /** Settles when the file may be opened. */
  readonly ready: Promise<void>
}

export class Attendance {
  readonly #client: GrantClient
  readonly #leases: Leases
  readonly #attended = new Map<string, Attended>()
  /** What files are called in messages. */
  readonly #keys = new Map<number, string>()

  constructor(client: GrantClient, leases: Leases) {
    this.#client = client
    this.#leases = leases
  }

  /**
   * One more who has the file of that key open, until {@link leave}. Resolves when the mount tells of its grants, and so it may be opened, and cached. `file` is shown before this returns, and may be closed
   * then. Rejects with the system's error, or a GrantError.
   */
  async enter(key: string, file: FileInMount): Promise<void> {
    const attended = this.#attended.get(key) ?? this.#begin(key, file)
    attended.users++
    try {
      await attended.ready
    } catch (error) {
      this.leave(key)
      throw error
    }
  }

  leave(key: string): void {
    const attended = this.#attended.get(key)
    if (attended === undefined || --attended.users > 0) return
    this.#attended.delete(key)
    this.#keys.delete(attended.id)
    this.#leases.left(key)
    this.#client.leave(attended.id)
  }

  recall(message: RecallMessage): void {
    const { id, file, start, end, readers } = message
    const key = this.#keys.get(file)
    // Else it is open no more, and the mount is about to hear that.
    if (key !== undefined) {
      const [from, to] = [Math.floor(start / PAGE_BYTES), Math.ceil(end / PAGE_BYTES)]
      this.#leases.recall({ id, file: key, from, to, readers })
    }
    this.#client.recalled(message)
  }

  /** Nobody tells of grants any more. */
  lost(): void {
    this.#leases.lost(this.#attended.keys())
  }

  #begin(key: string, file: FileInMount): Attended {
    const id = this.#client.newId()
    const attended = { id, users: 0, ready: this.#client.attend(id, file) }
    this.#attended.set(key, attended)
    this.#keys.set(id, key)
    return attended
  }
}
