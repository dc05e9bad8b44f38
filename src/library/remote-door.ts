/**
 * The keeper's door as another thread sees it: each call is a message and an answer. Hits do not come this way.
 *
 * ```
 *   thread ── { call: 7, method: 'load', args } ──▶ keeper's thread ── { call: 7, value | error } ──▶ thread
 *   thread ── { giveUp: 7 } ──▶ keeper's thread
 *   thread ◀── { revoke: grant, deadlineMs } ── keeper's thread
 * ```
 * The port closes when the thread ends, however it ends: then the keeper closes its files and lets go of its pins.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import type { MessagePort } from 'node:worker_threads'
import { CachedInode } from './cached-inode.ts'
import type { Door, OpenedFile } from './door.ts'
import { goneError, systemError, withPath } from './errors.ts'
import type { NumberedGrant } from './grants/door-grants.ts'
import type { ExclusiveWish } from './grants/grants.ts'
import type { LayoutHandle } from './layout.ts'
import type { MergeStats } from './merging.ts'
import type { OwnDoor } from './own-door.ts'
import { onAbort } from './signals.ts'

/** Methods of a door that can be asked for by message. */
type Method =
  | 'open'
  | 'layout'
  | 'load'
  | 'write'
  | 'truncate'
  | 'sync'
  | 'merge'
  | 'forget'
  | 'close'
  | 'exclusive'
  | 'publish'
  | 'abandon'
  | 'revoke'
  | 'sampled'
  | 'sampledDirect'

interface Call {
  readonly call: number
  readonly method: Method
  readonly args: readonly unknown[]
  /** The node that the thread is on, which may change. */
  readonly near: number
  /** It takes a signal as its last argument, see {@link GivingUp}. */
  readonly mayBeGivenUp: boolean
}

/** Nobody waits for the answer of that call any more. */
interface GivingUp {
  readonly giveUp: number
}

type Answer = { readonly call: number } & ({ readonly value: unknown } | { readonly error: ErrorParts })

/** Others want a grant of the thread. */
interface Revocation {
  readonly revoke: number
  readonly deadlineMs: number
}

/** Errors lose their `code` on the way to another thread. */
interface ErrorParts {
  readonly message: string
  readonly code: string | undefined
  readonly errno: number | undefined
  readonly syscall: string | undefined
  readonly path: string | undefined
}

const openFile = promisify(fs.open)

export class RemoteDoor implements Door {
  readonly now = undefined
  readonly #port: MessagePort
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(error: unknown): void }>()
  /** This thread's own, by the file's number. */
  readonly #descriptors = new Map<number, number>()
  onRevoke: ((grant: number, deadlineMs: number) => void) | undefined
  readonly #near: () => number
  #nextCall = 1
  #nextGrant = 1
  #ended: 'here' | 'there' | undefined

  constructor(port: MessagePort, near: () => number) {
    this.#port = port
    this.#near = near
    port.on('message', (message: Answer | Revocation) => {
      if ('revoke' in message) this.onRevoke?.(message.revoke, message.deadlineMs)
      else this.#take(message)
    })
    port.on('close', () => this.#end())
    // A port whose other end has closed keeps nothing alive; that it has may have been told before anybody listened here.
    port.ref()
    if (!(port as MessagePort & { hasRef(): boolean }).hasRef()) this.#end()
    port.unref()
  }

  async open(path: string, writable: boolean, domain: number): Promise<OpenedFile> {
    const opened = await this.#ask<OpenedFile>('open', path, writable, domain).catch((error: unknown) => {
      throw withPath(error, path)
    })
    try {
      const fd = await ownDescriptor(opened, path)
      this.#descriptors.set(opened.id, fd)
      return { ...opened, fd }
    } catch (error) {
      this.close(opened.id).catch(() => {})
      throw error
    }
  }

  layout(id: number): Promise<LayoutHandle> {
    return this.#ask('layout', id)
  }

  load(
    id: number,
    page: number,
    count: number,
    wanted: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return this.#call('load', [id, page, count, wanted, wait], signal)
  }

  write(id: number, bytes: Uint8Array, position: number, wait: boolean): Promise<void> {
    // Of a view the whole buffer would be sent.
    return this.#ask('write', id, new Uint8Array(bytes), position, wait)
  }

  truncate(id: number, length: number): Promise<void> {
    return this.#ask('truncate', id, length)
  }

  sync(id: number, dataOnly: boolean): Promise<void> {
    return this.#ask('sync', id, dataOnly)
  }

  merge(id: number, page: number, count: number): Promise<MergeStats> {
    return this.#ask('merge', id, page, count)
  }

  forget(id: number, page: number, count: number): Promise<void> {
    return this.#ask('forget', id, page, count)
  }

  async close(id: number): Promise<void> {
    const fd = this.#descriptors.get(id)
    if (fd !== undefined) fs.closeSync(fd)
    this.#descriptors.delete(id)
    try {
      await this.#ask('close', id)
    } catch (error) {
      // The end of the door closes all that is open through it.
      if (this.#ended === undefined) throw error
    }
  }

  exclusive(id: number, grant: number, holder: string | undefined, wish: ExclusiveWish): Promise<NumberedGrant> {
    return this.#ask('exclusive', id, grant, holder, wish)
  }

  publish(grant: number, bytes: Uint8Array, sync: boolean): Promise<void> {
    return this.#ask('publish', grant, bytes, sync)
  }

  abandon(grant: number): Promise<void> {
    return this.#ask('abandon', grant)
  }

  revoke(id: number, position: number, length: number, deadlineMs: number): Promise<number> {
    return this.#ask('revoke', id, position, length, deadlineMs)
  }

  grantNumber(): number {
    return this.#nextGrant++
  }

  sampled(node: number, samples: Int32Array): void {
    this.#ask('sampled', node, samples).catch(() => {})
  }

  sampledDirect(samples: Int32Array): void {
    this.#ask('sampledDirect', samples).catch(() => {})
  }

  get ended(): 'here' | 'there' | undefined {
    return this.#ended
  }

  disconnect(): void {
    this.#ended ??= 'here'
    this.#port.close()
  }

  #ask<Result>(method: Method, ...args: unknown[]): Promise<Result> {
    return this.#call(method, args)
  }

  /** When `signal` aborts, the keeper is told that nobody waits for it any more; it answers all the same. */
  #call<Result>(method: Method, args: readonly unknown[], signal?: AbortSignal): Promise<Result> {
    if (this.#ended !== undefined) return Promise.reject(goneError())
    const call = this.#nextCall++
    const mayBeGivenUp = signal !== undefined
    const answered = new Promise<Result>((resolve, reject) => {
      // First of all: it throws where the arguments cannot be sent, and then nothing is answered.
      this.#port.postMessage({ call, method, args, near: this.#near(), mayBeGivenUp } satisfies Call)
      // Waiting keeps the thread alive, being attached does not.
      if (this.#waiting.size === 0) this.#port.ref()
      this.#waiting.set(call, { resolve, reject })
    })
    if (!mayBeGivenUp) return answered
    const giveUp = () => this.#port.postMessage({ giveUp: call } satisfies GivingUp)
    return answered.finally(onAbort(signal, giveUp))
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.call)
    this.#waiting.delete(answer.call)
    if (this.#waiting.size === 0) this.#port.unref()
    if ('error' in answer) waiting?.reject(Object.assign(new Error(answer.error.message), answer.error))
    else waiting?.resolve(answer.value as never)
  }

  #end(): void {
    this.#ended ??= 'there'
    for (const { reject } of this.#waiting.values()) reject(goneError())
    this.#waiting.clear()
  }
}

/**
 * A descriptor of this thread's for what the keeper has opened. The keeper's own is closed when the cache is, and its number may be another file's before this thread
 * hears of that.
 */
async function ownDescriptor({ fd, key }: OpenedFile, path: string): Promise<number> {
  const name = process.platform === 'linux' ? `/proc/self/fd/${fd}` : path
  const own = await openFile(name, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  if (CachedInode.stampOf(fs.fstatSync(own, { bigint: true })).key === key) return own
  fs.closeSync(own)
  throw systemError('ESTALE', 'another file has taken its place', 'open', path)
}

/** Answers the calls of the thread at the other end of `port` with what `door` does. */
export function serveDoor(port: MessagePort, door: OwnDoor): void {
  door.onRevoke = (revoke, deadlineMs) => port.postMessage({ revoke, deadlineMs } satisfies Revocation)
  const calls = new Map<number, AbortController>()
  port.on('message', async (message: Call | GivingUp) => {
    if ('giveUp' in message) return calls.get(message.giveUp)?.abort()
    const { call, method, near, mayBeGivenUp } = message
    const args = [...message.args]
    if (mayBeGivenUp) args.push(signalOf(calls, call))
    let answer: Answer
    door.near = () => near
    try {
      answer = { call, value: await (door[method] as (...args: readonly unknown[]) => unknown).apply(door, args) }
    } catch (error) {
      const { message, code, errno, syscall, path } = error as NodeJS.ErrnoException
      answer = { call, error: { message, code, errno, syscall, path } }
    }
    calls.delete(call)
    port.postMessage(answer)
  })
}

/** Aborts when the thread gives that call up. */
function signalOf(calls: Map<number, AbortController>, call: number): AbortSignal {
  const controller = new AbortController()
  calls.set(call, controller)
  return controller.signal
}
