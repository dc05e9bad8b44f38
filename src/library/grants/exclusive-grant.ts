/** A range of a file that is exclusively its holder's, as users see it. */
import type { GrantReaders } from '../../cache/grants/grant-authority.ts'
import { withPath } from '../errors.ts'

export type { GrantReaders }

/** Of {@link CachedFile.exclusive}. */
export interface ExclusiveOptions {
  /** The first byte; 0 if not given. */
  readonly position?: number | undefined
  /** Bytes; to the file's end if not given. */
  readonly length?: number | undefined
  /** False: rejects with `EAGAIN` where it would have to wait. Default true. */
  readonly wait?: boolean | undefined
  /** Waits for at most so many milliseconds, then rejects with `ETIMEDOUT`. Default 30,000. */
  readonly timeoutMs?: number | undefined
  /** Gives up waiting: rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** What readers do meanwhile: wait, which is the default, or read what was published last. */
  readonly readers?: GrantReaders | undefined
  /**
   * A name for who holds it, of your choosing; grants of this thread with equal names have one holder. What waits for a holder that waits for it is refused
   * with `EDEADLK`: deadlocks are found between holders with names. If not given each grant has a holder of its own, and only time ends a deadlock.
   */
  readonly holder?: string | undefined
  /**
   * Others want the range: publish or abandon it within `deadlineMs` milliseconds. Then it is taken, and a publish rejects with `ESTALE`. Called on this thread, between other things: a holder
   * that blocks its thread is not asked, and loses the grant all the same. What it throws is an uncaught error of this thread.
   */
  readonly onRevoke?: ((grant: ExclusiveGrant, deadlineMs: number) => void) | undefined
}

/** Of {@link ExclusiveGrant.publish}. */
export interface PublishOptions {
  /** The bytes are on the disk before anybody sees them, and when it resolves. Default false. */
  readonly sync?: boolean | undefined
}

/** What the thread's door does for a grant. */
export interface GrantDoor {
  publish(grant: number, bytes: Uint8Array, sync: boolean): Promise<void>
  abandon(grant: number): Promise<void>
}

/**
 * Bytes of a file that nobody else reads or writes through the cache until they are published or abandoned. Made by {@link CachedFile.exclusive}.
 *
 *     await using grant = await file.exclusive({ position: 4096, length: 8192 })
 *     grant.bytes[0] += 1
 *     await grant.publish()
 *
 * Context: the thread that asked for it. It ends when it is published, abandoned or disposed, when its file is closed, its thread ends, or it is taken.
 */
export class ExclusiveGrant implements AsyncDisposable {
  /** In the file, in bytes. */
  readonly position: number
  /** A private copy of the range, to be read and written: nobody sees it before it is published. */
  readonly bytes: Uint8Array
  readonly #door: GrantDoor
  readonly #id: number
  /** Of its file. */
  readonly #path: string
  readonly #onEnded: () => void
  #isEnded = false

  /** @internal */
  constructor(door: GrantDoor, id: number, path: string, position: number, bytes: Uint8Array, onEnded: () => void) {
    this.#door = door
    this.#id = id
    this.#path = path
    this.position = position
    this.bytes = bytes
    this.#onEnded = onEnded
  }

  /** Whether it was published, abandoned or disposed. That it was taken tells {@link publish}. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /**
   * Writes all of {@link bytes}, as they are at the call, to the file and ends the grant: every read that begins after this resolves has all of them, on any thread; none has a part of them before. Rejects with
   * `ESTALE` where the grant has ended, and nothing is written; or with the system's error: then the old bytes are in the file, and the grant goes on, to be tried again or abandoned.
   * `EIO` may say that the old bytes could not be put back either.
   */
  async publish({ sync = false }: PublishOptions = {}): Promise<void> {
    try {
      await this.#door.publish(this.#id, this.bytes, sync)
    } catch (error) {
      throw withPath(error, this.#path)
    }
    this.#end()
  }

  /** Ends the grant; what was not published is lost. Further calls do nothing. */
  async abandon(): Promise<void> {
    if (this.#isEnded) return
    this.#end()
    await this.#door.abandon(this.#id)
  }

  /** {@link abandon}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.abandon()
  }

  #end(): void {
    this.#isEnded = true
    this.#onEnded()
  }
}
