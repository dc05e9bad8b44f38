/** The bytes of windows, as one thread sees them: see linux/windows.ts. */

/** A window on a home or a device; can be sent to other threads of the process. */
export interface WindowHandle {
  readonly address: number
  readonly capacity: number
  /** What is mapped. */
  readonly bytes: number
  /** Whether reads through it are sampled, so that pages can be promoted. */
  readonly isSampled: boolean
}

/** As short copies are made byte by byte: cheaper than the object that stands for a part. */
const SHORT_BYTES = 64

/** Context: one thread. */
export class Windows {
  readonly #view: (window: WindowHandle) => Uint8Array[]
  /** By address: places are never taken away, and used again. */
  readonly #segments = new Map<number, Uint8Array[]>()

  /** `view` gives the bytes of a window's place in segments, equally long but for the last. */
  constructor(view: (window: WindowHandle) => Uint8Array[]) {
    this.#view = view
  }

  /** Copies `count` bytes at `position`, which lie in one page, or at least in one segment, to `target` at `at`. */
  copy(window: WindowHandle, position: number, target: Uint8Array, at: number, count: number): void {
    const segments = this.#segmentsOf(window)
    const { length } = segments[0]!
    const index = Math.floor(position / length)
    const segment = segments[index]!
    const from = position - index * length
    if (count > SHORT_BYTES) target.set(segment.subarray(from, from + count), at)
    else for (let i = 0; i < count; i++) target[at + i] = segment[from + i]!
  }

  /** The same of any `count` bytes of the window. */
  copyRange(window: WindowHandle, position: number, target: Uint8Array, at: number, count: number): void {
    const { length } = this.#segmentsOf(window)[0]!
    for (let done = 0; done < count; ) {
      const from = position + done
      const part = Math.min(count - done, length - (from % length))
      this.copy(window, from, target, at + done, part)
      done += part
    }
  }

  #segmentsOf(window: WindowHandle): Uint8Array[] {
    let segments = this.#segments.get(window.address)
    if (segments === undefined) {
      segments = this.#view(window)
      this.#segments.set(window.address, segments)
    }
    return segments
  }
}
