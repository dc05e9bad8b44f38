/**
 * The keeper's door as another thread sees it: each call is a message and an answer. Hits do not come this way.
 *
 * ```
 *   thread ── { call: 7, method: 'load', args } ──▶ keeper's thread ── { call: 7, value | error } ──▶ thread
 * ```
 * The port closes when the thread ends, however it ends: then the keeper closes its files and lets go of its pins.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Door, OpenedFile } from './door.ts'
import type { LayoutHandle } from './layout.ts'
import type { OwnDoor } from './own-door.ts'

/** Methods of a door that can be asked for by message. */
type Method = 'open' | 'layout' | 'load' | 'write' | 'truncate' | 'sync' | 'forget' | 'close'

interface Call {
  readonly call: number
  readonly method: Method
  readonly args: readonly unknown[]
}

type Answer = { readonly call: number } & ({ readonly value: unknown } | { readonly error: ErrorParts })

/** Errors lose their `code` on the way to another thread. */
interface ErrorParts {
  readonly message: string
  readonly code: string | undefined
  readonly errno: number | undefined
  readonly syscall: string | undefined
  readonly path: string | undefined
}

export class RemoteDoor implements Door {
  readonly now = undefined
  readonly #port: MessagePort
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(error: unknown): void }>()
  #nextCall = 1
  #isClosed = false

  constructor(port: MessagePort) {
    this.#port = port
    port.on('message', (answer: Answer) => this.#take(answer))
    port.on('close', () => this.#end())
    port.unref()
  }

  open(path: string, writable: boolean): Promise<OpenedFile> {
    return this.#ask('open', path, writable)
  }

  layout(id: number): Promise<LayoutHandle> {
    return this.#ask('layout', id)
  }

  load(id: number, page: number, count: number, wanted: number): Promise<void> {
    return this.#ask('load', id, page, count, wanted)
  }

  write(id: number, bytes: Uint8Array, position: number): Promise<void> {
    // Of a view the whole buffer would be sent.
    return this.#ask('write', id, new Uint8Array(bytes), position)
  }

  truncate(id: number, length: number): Promise<void> {
    return this.#ask('truncate', id, length)
  }

  sync(id: number, dataOnly: boolean): Promise<void> {
    return this.#ask('sync', id, dataOnly)
  }

  forget(id: number, page: number, count: number): void {
    this.#ask('forget', id, page, count).catch(() => {})
  }

  close(id: number): Promise<void> {
    return this.#ask('close', id)
  }

  get isEnded(): boolean {
    return this.#isClosed
  }

  disconnect(): void {
    this.#isClosed = true
    this.#port.close()
  }

  #ask<Result>(method: Method, ...args: unknown[]): Promise<Result> {
    if (this.#isClosed) return Promise.reject(goneError())
    const call = this.#nextCall++
    // Waiting keeps the thread alive, being attached does not.
    if (this.#waiting.size === 0) this.#port.ref()
    return new Promise((resolve, reject) => {
      this.#waiting.set(call, { resolve, reject })
      this.#port.postMessage({ call, method, args } satisfies Call)
    })
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.call)
    this.#waiting.delete(answer.call)
    if (this.#waiting.size === 0) this.#port.unref()
    if ('error' in answer) waiting?.reject(Object.assign(new Error(answer.error.message), answer.error))
    else waiting?.resolve(answer.value as never)
  }

  #end(): void {
    this.#isClosed = true
    for (const { reject } of this.#waiting.values()) reject(goneError())
    this.#waiting.clear()
  }
}

/** Answers the calls of the thread at the other end of `port` with what `door` does. */
export function serveDoor(port: MessagePort, door: OwnDoor): void {
  port.on('message', async ({ call, method, args }: Call) => {
    let answer: Answer
    try {
      answer = { call, value: await (door[method] as (...args: readonly unknown[]) => unknown).apply(door, [...args]) }
    } catch (error) {
      const { message, code, errno, syscall, path } = error as NodeJS.ErrnoException
      answer = { call, error: { message, code, errno, syscall, path } }
    }
    port.postMessage(answer)
  })
}

function goneError(): Error {
  return Object.assign(new Error('ECONNRESET: the thread that made the cache has closed it'), { code: 'ECONNRESET' })
}
