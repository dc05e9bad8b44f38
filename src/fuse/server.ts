/**
 * The loop of one worker: receive a request, find its row, run its handler, answer. It knows the protocol and
 * nothing of files: handlers come in as a table.
 */
import { performance } from 'node:perf_hooks'
import { ERRNO } from '../linux/errors.ts'
import type { Channel } from './channel.ts'
import { Reply, Request } from './messages.ts'
import { IN_HEADER_BYTES, OPCODES, OUT_HEADER_BYTES } from './protocol.ts'

/** What a handler returns instead of a length or -errno when somebody else answers, or nobody has to. */
export const NO_REPLY = 0x7fff_ffff

/**
 * Handles a request: writes its payload to `reply` and returns the payload's bytes, or -errno, or {@link NO_REPLY}.
 * Runs on the worker's thread and may block it.
 */
export type Handler = (request: Request, reply: Reply) => number

/** Watches the loop: which request is in hand, what became of it. All called on the worker's thread. */
interface Observer {
  /** A request was taken from the channel. */
  began(uniqueLow: number, uniqueHigh: number): void
  /** It was answered (or handed on). `error` is 0 or a positive errno. */
  ended(opcode: number, error: number, seconds: number): void
  /** A handler threw: a defect, answered with EIO. */
  failed(opcode: number, error: unknown): void
}

/** What the longest request takes where `maxBytes` of data are the most. */
export const requestBytes = (maxBytes: number): number => maxBytes + 4096

export class Server {
  readonly request: Request
  readonly reply: Reply
  readonly #handlers: readonly (Handler | undefined)[]
  readonly #observer: Observer

  /** `handlers` by opcode; an opcode without one is answered with ENOSYS. `requestMemory`: {@link requestBytes} to receive into. */
  constructor(
    handlers: readonly (Handler | undefined)[],
    observer: Observer,
    maxBytes: number,
    requestMemory?: SharedArrayBuffer,
  ) {
    this.request = new Request(requestMemory ?? requestBytes(maxBytes))
    this.reply = new Reply(maxBytes + OUT_HEADER_BYTES)
    this.#handlers = handlers
    this.#observer = observer
  }

  /**
   * Serves one request. Returns 1 when one was served, 0 when there was none, -errno when the channel ended
   * (ENODEV: unmounted; ECONNABORTED: aborted).
   */
  serveOne(channel: Channel): number {
    const { request, reply } = this
    const length = channel.receive(request)
    if (length <= 0) return length
    const { opcode, uniqueLow, uniqueHigh } = request
    const started = performance.now()
    this.#observer.began(uniqueLow, uniqueHigh)
    const row = OPCODES[opcode]
    let result: number
    if (length < IN_HEADER_BYTES || request.length !== length) result = -ERRNO.EIO
    else if (row !== undefined && length < IN_HEADER_BYTES + row.bytesMin) result = -ERRNO.EINVAL
    else result = this.#run(opcode)
    let error = 0
    if (result !== NO_REPLY && row?.silent !== true) {
      error = result < 0 ? -result : 0
      const bytes = reply.finish(uniqueLow, uniqueHigh, Math.min(result, 0), Math.max(result, 0))
      const sent = channel.send(reply, bytes)
      // ENOENT: the request was aborted or interrupted meanwhile; nobody waits for the answer. Else somebody does, and would for ever.
      if (sent < 0 && sent !== -ERRNO.ENOENT) {
        error = ERRNO.EIO
        channel.send(reply, reply.finish(uniqueLow, uniqueHigh, -error, 0))
      }
    }
    this.#observer.ended(opcode, error, (performance.now() - started) / 1000)
    return 1
  }

  #run(opcode: number): number {
    const handler = this.#handlers[opcode]
    if (handler === undefined) return -ERRNO.ENOSYS
    try {
      return handler(this.request, this.reply)
    } catch (error) {
      this.#observer.failed(opcode, error)
      return -ERRNO.EIO
    }
  }
}
