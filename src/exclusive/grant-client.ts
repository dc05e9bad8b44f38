/**
 * A client of a mount's grants: shows it files that it has open, asks for ranges of them, and gives them back; and, where it caches what it reads, is told of those of others. See messages.ts.
 *
 * Pure: what it says goes over a {@link GrantWire} (grant-socket.ts), which gives it what it hears. Context: one thread with an event loop.
 */
import type { FromMount, Range, RecallMessage, ToMount } from './messages.ts'

/** What a mount refuses, by the errno's name. */
export class GrantError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'GrantError'
    this.code = code
  }
}

const ENDED = 'the mount has ended, and with it all of its grants'
const REFUSED =
  'the mount takes no more connections of this user, has ended, or cannot start what answers them any more: see its log'

/** A file that this process has open in the mount; for grants: for reading and writing. */
export interface FileInMount {
  readonly fd: number
  readonly path: string
}

/** The way to a mount, and what is done there with descriptors. */
export interface GrantWire {
  /** False: nobody hears it any more. */
  send(message: ToMount): boolean
  /** Shows a file, and returns when the mount has seen it. Throws the system's error. */
  show(file: FileInMount, key: Uint8Array): void
  /** The memory of a grant that has ended. */
  closeMemory(memory: number): void
  /** Soon {@link GrantClient.ended} is called. */
  close(): void
}

/** What a client that caches is told. */
export interface CacheEvents {
  /** A range is to be given up: answered by {@link GrantClient.recalled}. */
  readonly onRecall: (recall: RecallMessage) => void
  /** What was to be given up is not any more. */
  readonly onRestore: (id: number) => void
  /** The mount has ended, or has cut the connection off. */
  readonly onEnded: () => void
}

interface WantOptions {
  /** The file that was shown last, if not given. */
  readonly file?: FileInMount
  readonly range: Range
  /** Holders of equal names are one; all of this client are, if not given. */
  readonly holder?: string
  readonly readers: 'wait' | 'last-published'
  readonly wait: boolean
  /** null: no limit. */
  readonly timeoutMs: number | null
  /** Somebody asks for it back, and takes it after so many milliseconds. */
  readonly onRevoke: (deadlineMs: number) => void
  /** It has been taken, or the mount has ended. */
  readonly onTaken: () => void
}

/** A range of a file that this process holds alone. */
export interface MountGrant {
  readonly start: number
  readonly length: number
  /** A descriptor of memory with the bytes, of that length for ever. Closed when the grant ends. */
  readonly memory: number
  /** Publishes what the memory holds. Rejects with a {@link GrantError}: ESTALE where it was taken; the file then is as it was. */
  publish(sync: boolean): Promise<void>
  abandon(): Promise<void>
}

interface Answer {
  readonly answer: FromMount
  readonly descriptor: number | undefined
}

interface Waiting {
  resolve(answer: FromMount, descriptor: number | undefined): void
  reject(error: Error): void
}

export class GrantClient {
  readonly #wire: GrantWire
  readonly #cache: CacheEvents | undefined
  readonly #waiting = new Map<number, Waiting>()
  readonly #held = new Map<number, WantOptions>()
  #key = new Uint8Array(0)
  #heardHello: () => void = () => {}
  readonly #hello: Promise<void>
  #lastId = 0
  #endedBy: GrantError | undefined

  constructor(wire: GrantWire, cache?: CacheEvents) {
    this.#wire = wire
    this.#cache = cache
    this.#hello = new Promise((resolve) => {
      this.#heardHello = resolve
    })
  }

  /** Shows the mount a file, which everything from now on is about; it may be closed then. Throws the system's error. After {@link ready}. */
  show(file: FileInMount): void {
    this.#wire.show(file, this.#key)
  }

  /**
   * From now on the client is told of grants of the file, by `id`, which is for it to choose; what is granted already it is told before this resolves. The file is shown before anything else
   * happens, and may be closed then.
   */
  async attend(id: number, file: FileInMount): Promise<void> {
    await this.#askOf(file, { type: 'attend', id })
  }

  leave(id: number): void {
    this.#send({ type: 'leave', id })
  }

  /** The range has been given up. */
  recalled({ id, turn }: RecallMessage): void {
    this.#send({ type: 'recalled', id, turn })
  }

  /** Resolves when files can be shown. Rejects with a {@link GrantError}. */
  async ready(): Promise<void> {
    await this.#hello
    if (this.#endedBy !== undefined) throw this.#endedBy
  }

  /** A number for {@link attend}. */
  newId(): number {
    return ++this.#lastId
  }

  get isOpen(): boolean {
    return this.#endedBy === undefined
  }

  /** Asks for a range of a file. Rejects with a {@link GrantError}. `signal` takes the question back. */
  async want(options: WantOptions, signal?: AbortSignal): Promise<MountGrant> {
    const id = ++this.#lastId
    const { file, holder, readers, wait } = options
    const range = wholeRange(options.range)
    const timeoutMs = wholeMs(options.timeoutMs)
    this.#held.set(id, options)
    const takeBack = () => this.#send({ type: 'abandon', id })
    signal?.addEventListener('abort', takeBack, { once: true })
    try {
      const wish = {
        type: 'want',
        id,
        range,
        readers,
        wait,
        timeoutMs,
        ...(holder !== undefined && { holder }),
      } as const
      const { answer, descriptor } = await this.#askOf(file, wish)
      if (answer.type !== 'granted') throw new GrantError('ECANCELED', 'taken back')
      if (descriptor === undefined) {
        takeBack()
        throw new GrantError('EMFILE', 'this process has no descriptor left for the memory of the grant')
      }
      if (signal?.aborted === true) {
        // The two have crossed: the mount is giving it back, and its answer to that is none to anything else.
        this.#wire.closeMemory(descriptor)
        throw new GrantError('ECANCELED', 'taken back')
      }
      return this.#hold(id, answer.start, answer.length, descriptor)
    } catch (error) {
      this.#held.delete(id)
      throw error
    } finally {
      signal?.removeEventListener('abort', takeBack)
    }
  }

  /** Asks the holders of a range to give it up, and takes it after `deadlineMs`. Resolves with how many have ended then, and how many of them had to be taken. `file` as in {@link WantOptions}. */
  async revoke(range: Range, deadlineMs: number, file?: FileInMount): Promise<{ asked: number; taken: number }> {
    const { answer } = await this.#askOf(file, {
      type: 'revoke',
      id: ++this.#lastId,
      range: wholeRange(range),
      deadlineMs: wholeMs(deadlineMs) ?? Number.MAX_SAFE_INTEGER,
    })
    const { asked = 0, taken = 0 } = answer.type === 'ended' ? answer : {}
    return { asked, taken }
  }

  /** Ends the connection: what it holds is abandoned. */
  close(): void {
    if (this.isOpen) this.#wire.close()
  }

  #hold(id: number, start: number, length: number, memory: number): MountGrant {
    const end = () => {
      if (this.#held.delete(id)) this.#wire.closeMemory(memory)
    }
    return {
      start,
      length,
      memory,
      publish: (sync) =>
        this.#ask({ type: 'publish', id, sync }).then(end, (error: unknown) => {
          // What could not be written is still held.
          if (error instanceof GrantError && error.code === 'ESTALE') end()
          throw error
        }),
      abandon: () =>
        this.#ask({ type: 'abandon', id })
          .then(() => {})
          .finally(end),
    }
  }

  /** Shows the file, and asks about it, before anything else happens. */
  #askOf(file: FileInMount | undefined, message: ToMount): Promise<Answer> {
    if (file !== undefined && this.isOpen) this.show(file)
    return this.#ask(message)
  }

  #ask(message: ToMount): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#endedBy !== undefined) {
        reject(this.#endedBy)
        return
      }
      this.#waiting.set(message.id, { resolve: (answer, descriptor) => resolve({ answer, descriptor }), reject })
      this.#send(message)
    })
  }

  #send(message: ToMount): void {
    if (this.isOpen && !this.#wire.send(message)) this.ended()
  }

  /** What the mount has said; `memory` came with it. */
  take(message: FromMount, memory: number | undefined): void {
    if (message.type === 'hello') {
      this.#key = Buffer.from(message.key, 'hex')
      this.#heardHello()
    } else if (message.type === 'revoking') this.#held.get(message.id)?.onRevoke(message.deadlineMs)
    else if (message.type === 'taken') this.#held.get(message.id)?.onTaken()
    else if (message.type === 'recall') this.#cache?.onRecall(message)
    else if (message.type === 'restore') this.#cache?.onRestore(message.id)
    else this.#answer(message, memory)
  }

  #answer(answer: Extract<FromMount, { id: number }>, descriptor: number | undefined): void {
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    const code = answer.type === 'refused' || answer.type === 'ended' ? answer.code : undefined
    if (code === undefined) waiting?.resolve(answer, descriptor)
    else waiting?.reject(new GrantError(code, ('message' in answer ? answer.message : undefined) ?? code))
  }

  /** Nothing is heard any more. `why`: if it is not the mount that has ended the connection. */
  ended(why?: GrantError): void {
    if (!this.isOpen) return
    const isGreeted = this.#key.length > 0
    const error = why ?? (isGreeted ? new GrantError('ESTALE', ENDED) : new GrantError('ECONNREFUSED', REFUSED))
    this.#endedBy = error
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
    for (const held of [...this.#held.values()]) held.onTaken()
    this.#heardHello()
    this.#cache?.onEnded()
  }
}

/** The mount takes whole numbers alone, from 0 on. null: no limit. */
function wholeMs(ms: number | null): number | null {
  return ms === null || ms > Number.MAX_SAFE_INTEGER ? null : Math.max(0, Math.ceil(ms) || 0)
}

function wholeRange({ start, end }: Range): Range {
  return { start, end: end === null ? null : Math.min(end, Number.MAX_SAFE_INTEGER) }
}
