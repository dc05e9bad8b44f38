/** What a thread has of grants: how it asks for them, and who is called when others want them. */
import { checkAmount, checkFunction, wrongValue } from '../arguments.ts'
import type { Door } from '../door.ts'
import { withPath } from '../errors.ts'
import { onAbort, throwIfAborted } from '../signals.ts'
import { ExclusiveGrant, type ExclusiveOptions, type GrantReaders } from './exclusive-grant.ts'

/** As {@link ExclusiveOptions} has them; what is of the range is known. */
type Wanted = ExclusiveOptions & { readonly position: number; readonly length: number }

const TIMEOUT_MS = 30_000
const READERS: readonly GrantReaders[] = ['wait', 'last-published']

export class Holder {
  readonly #door: Door
  readonly #onRevoke = new Map<number, (deadlineMs: number) => void>()

  constructor(door: Door) {
    this.#door = door
    // The user's function may do anything, throw for one: that is not to meet whoever asks for the grant, or the holders to be asked after this one. It may have ended by then.
    door.onRevoke = (number, deadlineMs) => queueMicrotask(() => this.#onRevoke.get(number)?.(deadlineMs))
  }

  /** Asks for a range of file `file` of the door, which was opened by `path`. */
  async request(file: number, path: string, wanted: Wanted): Promise<ExclusiveGrant> {
    const { position, length, readers = 'wait', wait = true, timeoutMs = TIMEOUT_MS, holder, signal, onRevoke } = wanted
    if (!READERS.includes(readers))
      throw wrongValue(`readers: '${String(readers)}' is none of ${READERS.map((each) => `'${each}'`).join(', ')}`)
    checkAmount('timeoutMs', timeoutMs)
    checkFunction('onRevoke', onRevoke)
    throwIfAborted(signal)
    const number = this.#door.grantNumber()
    const takeBack = () => void this.#door.abandon(number).catch(() => {})
    const unheard = signal && onAbort(signal, takeBack)
    try {
      const wish = { position, length, readers, wait, timeoutMs }
      const { bytes } = await this.#door.exclusive(file, number, holder, wish)
      // One that tells nobody that it aborts has taken nothing back.
      if (signal?.aborted) takeBack()
      throwIfAborted(signal)
      const grant = new ExclusiveGrant(this.#door, number, path, position, bytes, () => this.#onRevoke.delete(number))
      if (onRevoke !== undefined) this.#onRevoke.set(number, (deadlineMs) => onRevoke(grant, deadlineMs))
      return grant
    } catch (error) {
      throwIfAborted(signal)
      throw withPath(error, path)
    } finally {
      unheard?.()
    }
  }
}
