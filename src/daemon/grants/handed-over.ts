/**
 * Requests that workers have handed over: kept until their turn has come, then answered as a worker would have, by the very handlers. Context: the
 * grants' thread, and that of leases.
 */
import type { MessagePort } from 'node:worker_threads'
import { Reply, Request, requestNumber } from '../../fuse/messages.ts'
import { IOCTL_OUT_BYTES, OUT_HEADER_BYTES } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY, requestBytes } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { write } from '../../linux/fuse-device.ts'
import { EarlyInterrupts } from '../early-interrupts.ts'
import type { ToGrants } from '../shared-state.ts'

/** A request as a worker received it, by the descriptor that the answer has to go to. */
export interface HandedOver {
  readonly fuseFd: number
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Tells the request from all others. */
  readonly number: string
}

interface HandedOverParts {
  /** By opcode. */
  readonly handlers: readonly (Handler | undefined)[]
  readonly maxBytes: number
  /** A handler threw: a defect. */
  readonly failed: (opcode: number, error: unknown) => void
}

export class HandedOverRequests {
  readonly #parts: HandedOverParts
  readonly #request: Request
  readonly #reply: Reply
  /** How to end those that wait and may be ended by a signal. */
  readonly #waiting = new Map<string, () => void>()
  readonly #early = new EarlyInterrupts()

  constructor(parts: HandedOverParts) {
    this.#parts = parts
    this.#request = new Request(requestBytes(parts.maxBytes))
    this.#reply = new Reply(parts.maxBytes + OUT_HEADER_BYTES)
  }

  /** Requests that wait and can be ended by a signal. */
  get waitingCount(): number {
    return this.#waiting.size
  }

  /** The request as handlers see it; until the next one is looked at. */
  look({ bytes }: HandedOver): Request {
    this.#request.bytes.set(bytes)
    return this.#request
  }

  /** Calls `take`, which answers it, or has it answered later. Where that throws, which is a defect, it is answered here: nobody else would. */
  attend(handed: HandedOver, take: (request: Request) => void): void {
    const request = this.look(handed)
    const { opcode } = request
    try {
      take(request)
    } catch (error) {
      this.#parts.failed(opcode, error)
      this.answer(handed, -ERRNO.EIO)
    }
  }

  /** Has it handled, and answers. */
  run(handed: HandedOver): void {
    this.attend(handed, (request) => {
      const result = this.#parts.handlers[request.opcode]?.(request, this.#reply) ?? -ERRNO.ENOSYS
      if (result !== NO_REPLY) this.answer(handed, result)
    })
  }

  /** Answers with so many payload bytes, or -errno. */
  answer(handed: HandedOver, result: number): void {
    this.#waiting.delete(handed.number)
    const { uniqueLow, uniqueHigh } = this.look(handed)
    const bytes = this.#reply.finish(uniqueLow, uniqueHigh, Math.min(result, 0), Math.max(result, 0))
    write(handed.fuseFd, this.#reply.bytes, bytes)
  }

  /** Answers an ioctl(2) with 0. */
  answerIoctl(handed: HandedOver): void {
    this.#reply.zero(0, IOCTL_OUT_BYTES)
    this.answer(handed, IOCTL_OUT_BYTES)
  }

  /** It waits from now on; `interrupted` is called where a signal comes for it, or has come already, and is to end it. */
  waits(handed: HandedOver, interrupted: () => void): void {
    if (this.#early.take(handed.number)) interrupted()
    else this.#waiting.set(handed.number, interrupted)
  }

  /** It does not wait any more. */
  forget(handed: HandedOver): void {
    this.#waiting.delete(handed.number)
  }

  interrupt(number: string): void {
    const interrupted = this.#waiting.get(number)
    if (interrupted !== undefined) interrupted()
    else this.#early.add(number)
  }
}

/** Hands a request, which came by `fuseFd`, over to the grants' thread; its memory can be used again when this returns. */
export function handOver(port: MessagePort, fuseFd: number, request: Request): void {
  const bytes = request.bytes.slice(0, request.length)
  port.postMessage({ type: 'request', fuseFd, bytes } satisfies ToGrants, [bytes.buffer])
}

export function handedOver(fuseFd: number, bytes: Uint8Array<ArrayBuffer>): HandedOver {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, 4)
  return { fuseFd, bytes, number: requestNumber(words[2]!, words[3]!) }
}
