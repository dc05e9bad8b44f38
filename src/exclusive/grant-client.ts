/**
 * A client of a mount's grants: shows it files that it has open, asks for ranges of them, and gives them back. See messages.ts.
 *
 * Context: one thread with an event loop. A connection keeps that thread's process alive, and takes one thread of its libuv pool while it lasts.
 */
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, closeAsync, O_RDWR, open } from '../linux/file.ts'
import { ioctl } from '../linux/ioctl.ts'
import { connectUnix, readable, receiveWith, sendWith, shutdownSocket } from '../linux/unix-socket.ts'
import { type FromMount, Lines, type Range, SHOW_FILE, type ToMount } from './messages.ts'

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

export interface WantOptions {
  readonly range: Range
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
export interface HeldGrant {
  readonly start: number
  readonly length: number
  /** A descriptor of memory with the bytes, of that length for ever. Closed when the grant ends. */
  readonly memory: number
  /** Publishes what the memory holds. Rejects with a {@link GrantError}: ESTALE where it was taken; the file then is as it was. */
  publish(sync: boolean): Promise<void>
  abandon(): Promise<void>
}

interface Waiting {
  resolve(answer: FromMount, descriptor: number | undefined): void
  reject(error: Error): void
}

export class GrantClient {
  readonly #fd: number
  readonly #lines = new Lines()
  readonly #waiting = new Map<number, Waiting>()
  readonly #held = new Map<number, WantOptions>()
  readonly #descriptors: number[] = []
  #key: (key: Buffer) => void = () => {}
  readonly #hello: Promise<Buffer>
  #lastId = 0
  #isOpen = true

  private constructor(fd: number) {
    this.#fd = fd
    this.#hello = new Promise((resolve) => {
      this.#key = resolve
    })
    void this.#receive()
  }

  /** Connects to the mount that listens at the first of `sockets` where somebody does; undefined where nobody does. */
  static connect(sockets: readonly string[]): GrantClient | undefined {
    for (const socket of sockets) {
      const fd = connectUnix(socket)
      if (fd >= 0) return new GrantClient(fd)
      if (fd !== -ERRNO.ENOENT && fd !== -ERRNO.ECONNREFUSED && fd !== -ERRNO.EACCES)
        throw new SystemError(-fd, 'connect', socket)
    }
    return undefined
  }

  /** Shows the mount the file at `path`, which everything from now on is about. Throws a SystemError: EACCES for example, as open(2) does. */
  async show(path: string): Promise<void> {
    const key = await this.#hello
    if (key.length === 0) throw new GrantError('ESTALE', ENDED)
    const fd = open(path, O_RDWR)
    const error = ioctl(fd, SHOW_FILE, key)
    // Closing waits where a writer does.
    void closeAsync(fd).catch(() => {})
    if (error < 0) throw new SystemError(-error, 'ioctl', path)
  }

  /** Asks for a range of the file that was shown last. Rejects with a {@link GrantError}. `signal` takes the question back. */
  async want(options: WantOptions, signal?: AbortSignal): Promise<HeldGrant> {
    const id = ++this.#lastId
    const { range, readers, wait, timeoutMs } = options
    this.#held.set(id, options)
    const takeBack = () => this.#send({ type: 'abandon', id })
    signal?.addEventListener('abort', takeBack, { once: true })
    try {
      const { answer, descriptor } = await this.#ask({ type: 'want', id, range, readers, wait, timeoutMs })
      if (answer.type !== 'granted' || descriptor === undefined) throw new GrantError('ECANCELED', 'taken back')
      return this.#hold(id, answer.start, answer.length, descriptor)
    } catch (error) {
      this.#held.delete(id)
      throw error
    } finally {
      signal?.removeEventListener('abort', takeBack)
    }
  }

  /** Asks the holders of a range of the file that was shown last to give it up, and takes it after `deadlineMs`. Resolves with how many had to be taken. */
  async revoke(range: Range, deadlineMs: number): Promise<number> {
    const { answer } = await this.#ask({ type: 'revoke', id: ++this.#lastId, range, deadlineMs })
    return answer.type === 'ended' ? (answer.taken ?? 0) : 0
  }

  /** Ends the connection: what it holds is abandoned. */
  close(): void {
    shutdownSocket(this.#fd)
  }

  #hold(id: number, start: number, length: number, memory: number): HeldGrant {
    const end = () => {
      if (this.#held.delete(id)) close(memory)
    }
    return {
      start,
      length,
      memory,
      publish: (sync) =>
        this.#ask({ type: 'publish', id, sync })
          .then(() => {})
          .finally(end),
      abandon: () =>
        this.#ask({ type: 'abandon', id })
          .then(() => {})
          .finally(end),
    }
  }

  #ask(message: ToMount): Promise<{ answer: FromMount; descriptor: number | undefined }> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(message.id, { resolve: (answer, descriptor) => resolve({ answer, descriptor }), reject })
      this.#send(message)
    })
  }

  #send(message: ToMount): void {
    if (!this.#isOpen || sendWith(this.#fd, Buffer.from(`${JSON.stringify(message)}\n`)) < 0) this.#ended()
  }

  async #receive(): Promise<void> {
    const buffer = new Uint8Array(new ArrayBuffer(64 << 10))
    for (;;) {
      await readable([this.#fd])
      const received = receiveWith(this.#fd, buffer, this.#descriptors)
      if (received === -ERRNO.EAGAIN || received === -ERRNO.EINTR) continue
      const lines =
        received > 0 ? this.#lines.take(Buffer.from(buffer.subarray(0, received)).toString('latin1')) : undefined
      if (lines === undefined) break
      for (const line of lines) this.#take(JSON.parse(line) as FromMount)
    }
    this.#ended()
    close(this.#fd)
  }

  #take(message: FromMount): void {
    if (message.type === 'hello') this.#key(Buffer.from(message.key, 'hex'))
    else if (message.type === 'revoking') this.#held.get(message.id)?.onRevoke(message.deadlineMs)
    else if (message.type === 'taken') this.#held.get(message.id)?.onTaken()
    else this.#answer(message)
  }

  #answer(answer: Extract<FromMount, { id: number }>): void {
    const descriptor = answer.type === 'granted' ? this.#descriptors.shift() : undefined
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    const code = answer.type === 'refused' || answer.type === 'ended' ? answer.code : undefined
    if (code === undefined) waiting?.resolve(answer, descriptor)
    else waiting?.reject(new GrantError(code, ('message' in answer ? answer.message : undefined) ?? code))
  }

  #ended(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    const error = new GrantError('ESTALE', ENDED)
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
    for (const held of this.#held.values()) held.onTaken()
    this.#key(Buffer.alloc(0))
  }
}
