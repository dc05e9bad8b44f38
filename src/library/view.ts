/**
 * Views: bytes of a file where they lie in the cache, without a copy.
 *
 * Their buffer is the cache's: a whole segment of its memory, with the pages of other files. Node.js can keep it from being transferred only in ways that old versions ignore and new ones
 * end the process for. So a transfer is let happen, the arena gets over it (see arena.ts), and a view that has lost its bytes by it says so: one that seemed empty would be wrong bytes.
 */
import type { Pins } from '../cache/pins.ts'

/** Lets go of `slots`; those that are none (-1) are passed over. */
export function unpinAll(pins: Pins, slots: readonly number[]): void {
  for (let i = 0; i < slots.length; i++) if (slots[i]! >= 0) pins.unpin(slots[i]!)
}

/**
 * Bytes of a file, pinned in memory until the view is disposed. They stay what they were when the view was made, also when the file is written.
 *
 * They belong to the cache: **do not write to them**, and do not keep them after {@link dispose}: they may be another page's then. A cache made with
 * `debug: true` takes them away instead, so that keeping them shows.
 *
 * Their `buffer` is the cache's memory with the pages of other files, too. **Who sends them elsewhere sends a copy**, `view.bytes.slice()`: `structuredClone` and `postMessage` would copy all of the
 * buffer (or share it, where it is a SharedArrayBuffer), and what transfers it (a `ReadableStream` of `type: 'bytes'` does with what is enqueued) takes the bytes of all views in
 * it away from this thread and gives the receiver the memory itself. `parts` and `bytes` of such a view throw `ERR_INVALID_STATE` from then on; the cache goes on.
 *
 *     using view = await file.view(0, 4096)
 *     hash.update(view.bytes)
 */
export class View implements Disposable {
  /** Bytes in all. */
  readonly length: number
  readonly #parts: readonly Uint8Array[]
  readonly #pins: Pins
  /** Slots; -1: the part is a copy, for there was no slot left, no room, or no frame. */
  readonly #slots: readonly number[]
  readonly #isDebug: boolean
  #isDisposed = false

  /** @internal */
  constructor(parts: readonly Uint8Array[], slots: readonly number[], pins: Pins, isDebug: boolean) {
    this.#parts = parts
    this.#slots = slots
    this.#pins = pins
    this.#isDebug = isDebug
    let length = 0
    for (let i = 0; i < parts.length; i++) length += parts[i]!.length
    this.length = length
  }

  /** In the order of the file; each lies in one page, or is a copy. Throws `ERR_INVALID_STATE` where their buffer was transferred. */
  get parts(): readonly Uint8Array[] {
    let length = 0
    for (let i = 0; i < this.#parts.length; i++) length += this.#parts[i]!.length
    if (length !== this.length) throw goneError(this.#isDisposed)
    return this.#parts
  }

  /** All bytes as one array: where they lie in one page without a copy, else copied each time they are asked for. Throws as {@link parts}. */
  get bytes(): Uint8Array {
    const { parts } = this
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  /** Whether no part is a copy; with `debug: true` all are. */
  get isPinned(): boolean {
    return !this.#isDebug && !this.#slots.includes(-1)
  }

  /** Lets go of the bytes. Further calls do nothing. */
  dispose(): void {
    if (this.#isDisposed) return
    this.#isDisposed = true
    unpinAll(this.#pins, this.#slots)
    // Detached: its length is 0 from now on, and methods throw.
    if (this.#isDebug)
      for (const { buffer } of this.#parts)
        if (buffer instanceof ArrayBuffer && buffer.byteLength > 0) structuredClone(buffer, { transfer: [buffer] })
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function goneError(isDisposed: boolean): Error {
  const why = isDisposed
    ? 'the view was disposed'
    : 'the buffer of the view was transferred: to send bytes elsewhere, copy them, view.bytes.slice()'
  return Object.assign(new Error(why), { code: 'ERR_INVALID_STATE' })
}
