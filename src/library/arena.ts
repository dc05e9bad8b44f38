/**
 * The arena: the memory of a cache's frames, and how threads get at it.
 *
 * On Linux it is a memfd that each thread maps for itself: aligned, so that direct I/O reaches it, and given back to the system page by page when the
 * cache shrinks. Elsewhere, and where koffi cannot be loaded, it is a SharedArrayBuffer.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { Native } from './native.ts'

/** What another thread needs to reach the arena; can be sent to it. */
export type ArenaHandle =
  | { readonly kind: 'memfd'; readonly fd: number; readonly bytes: number }
  | { readonly kind: 'buffer'; readonly buffer: SharedArrayBuffer }

export class Arena {
  readonly handle: ArenaHandle
  readonly #native: Native | undefined
  readonly #segments: readonly Uint8Array[]
  readonly #framesPerSegment: number
  /** The bytes of frames that were asked for: made once each. */
  readonly #frames: Uint8Array[]

  private constructor(handle: ArenaHandle, native: Native | undefined, segments: readonly Uint8Array[]) {
    this.handle = handle
    this.#native = native
    this.#segments = segments
    this.#framesPerSegment = segments[0]!.length / PAGE_BYTES
    this.#frames = new Array(segments.reduce((sum, { length }) => sum + length, 0) / PAGE_BYTES)
  }

  /** A new arena of `frames`; a memfd where `native` is given. Throws what the system says where there is no memory. */
  static create(frames: number, native: Native | undefined): Arena {
    const bytes = frames * PAGE_BYTES
    if (native === undefined) return Arena.attach({ kind: 'buffer', buffer: new SharedArrayBuffer(bytes) }, undefined)
    return Arena.attach({ kind: 'memfd', fd: native.createMemory('samepage', bytes), bytes }, native)
  }

  /** The arena of a handle, on any thread of the process that made it. */
  static attach(handle: ArenaHandle, native: Native | undefined): Arena {
    if (handle.kind === 'buffer') return new Arena(handle, undefined, [new Uint8Array(handle.buffer)])
    if (native === undefined) throw new Error('this cache is in a memfd, which needs koffi')
    return new Arena(handle, native, native.mapMemory(handle.fd, handle.bytes))
  }

  /** Whether direct I/O can read into frames: they lie on page boundaries. */
  get isAligned(): boolean {
    return this.handle.kind === 'memfd'
  }

  /** The 4096 bytes of a frame. The same object each time. */
  bytes(frame: number): Uint8Array {
    return this.#frames[frame] ?? this.#make(frame)
  }

  /**
   * Copies `count` bytes from byte `from` of `frame` on to `target` at `to`; they may reach into the frames that follow. Unlike {@link bytes} it keeps no object for each
   * frame: for threads that touch all of them and have a small heap.
   */
  copy(frame: number, from: number, count: number, target: Uint8Array, to: number): void {
    const segmentBytes = this.#framesPerSegment * PAGE_BYTES
    for (let done = 0; done < count; ) {
      const position = frame * PAGE_BYTES + from + done
      const segment = this.#segments[Math.floor(position / segmentBytes)]!
      const at = position % segmentBytes
      const length = Math.min(count - done, segmentBytes - at)
      target.set(segment.subarray(at, at + length), to + done)
      done += length
    }
  }

  /** The bytes of `frames` in their order; those that lie side by side are one array: what reads into it has less to do. */
  buffers(frames: readonly number[]): Uint8Array[] {
    const buffers: Uint8Array[] = []
    for (let i = 0, count = 1; i < frames.length; i += count) {
      const first = frames[i]!
      count = 1
      while (frames[i + count] === first + count && (first + count) % this.#framesPerSegment !== 0) count++
      buffers.push(count === 1 ? this.bytes(first) : this.#span(first, count))
    }
    return buffers
  }

  /** Gives the memory of frames back to the system. What is read from them afterwards are zeros. */
  giveBack(frames: readonly number[]): void {
    if (this.handle.kind !== 'memfd') return
    for (const frame of frames) this.#native?.punchHole(this.handle.fd, frame * PAGE_BYTES, PAGE_BYTES)
  }

  /** Gives all memory back. Views that somebody still has show zeros. The keeper's thread, once, when no other uses the arena. */
  destroy(): void {
    if (this.handle.kind !== 'memfd') return
    this.#native?.punchHole(this.handle.fd, 0, this.handle.bytes)
    this.#native?.close(this.handle.fd)
  }

  #make(frame: number): Uint8Array {
    const bytes = this.#span(frame, 1)
    this.#frames[frame] = bytes
    return bytes
  }

  /** Of `count` frames in one segment. */
  #span(frame: number, count: number): Uint8Array {
    const segment = this.#segments[Math.floor(frame / this.#framesPerSegment)]!
    const at = (frame % this.#framesPerSegment) * PAGE_BYTES
    return segment.subarray(at, at + count * PAGE_BYTES)
  }
}
