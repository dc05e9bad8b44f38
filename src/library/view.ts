/** Views: bytes of a file where they lie in the cache, without a copy. */
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
 *     using view = await file.view(0, 4096)
 *     hash.update(view.bytes)
 */
export class View implements Disposable {
  /** In the order of the file; each lies in one page. */
  readonly parts: readonly Uint8Array[]
  /** Bytes in all. */
  readonly length: number
  readonly #pins: Pins
  /** Slots; -1: the part is a copy, for there was no slot left, or no frame. */
  readonly #slots: readonly number[]
  readonly #isDebug: boolean
  #isDisposed = false

  /** @internal */
  constructor(parts: readonly Uint8Array[], slots: readonly number[], pins: Pins, isDebug: boolean) {
    this.parts = parts
    this.#slots = slots
    this.#pins = pins
    this.#isDebug = isDebug
    let length = 0
    for (let i = 0; i < parts.length; i++) length += parts[i]!.length
    this.length = length
  }

  /** All bytes as one array: where they lie in one page without a copy, else copied each time they are asked for. */
  get bytes(): Uint8Array {
    return this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts)
  }

  /** Whether no part is a copy. */
  get isPinned(): boolean {
    return !this.#slots.includes(-1)
  }

  /** Lets go of the bytes. Further calls do nothing. */
  dispose(): void {
    if (this.#isDisposed) return
    this.#isDisposed = true
    unpinAll(this.#pins, this.#slots)
    // Detached: its length is 0 from now on, and methods throw.
    if (this.#isDebug)
      for (const { buffer } of this.parts)
        if (buffer instanceof ArrayBuffer && buffer.byteLength > 0) structuredClone(buffer, { transfer: [buffer] })
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
