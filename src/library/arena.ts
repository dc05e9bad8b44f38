/**
 * The arena: the memory of a cache's frames, and how threads get at it.
 *
 * On Linux it is a memfd that each thread maps for itself: aligned, so that direct I/O reaches it, and given back to the system page by page when the
 * cache shrinks. Elsewhere, and where koffi cannot be loaded, it is a SharedArrayBuffer. On a machine of several NUMA nodes it is a memfd for each, bound to
 * its node: the kernel then takes pages from there, whoever touches them first.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { Native } from './native.ts'
import type { NumaPlan } from './numa.ts'

/** What another thread needs to reach the arena; can be sent to it. */
export type ArenaHandle =
  | { readonly kind: 'memfd'; readonly parts: readonly ArenaPart[] }
  | { readonly kind: 'buffer'; readonly buffer: SharedArrayBuffer }

/** Frames in one memfd, one part's after the other's. */
interface ArenaPart {
  readonly fd: number
  readonly bytes: number
}

export class Arena {
  readonly handle: ArenaHandle
  readonly #native: Native | undefined
  readonly #segments: readonly Uint8Array[]
  /** By segment, the first frame behind it. */
  readonly #ends: readonly number[]
  /** The bytes of frames that were asked for: made once each. */
  readonly #frames: Uint8Array[]

  private constructor(handle: ArenaHandle, native: Native | undefined, segments: readonly Uint8Array[]) {
    this.handle = handle
    this.#native = native
    this.#segments = segments
    let end = 0
    this.#ends = segments.map(({ length }) => (end += length / PAGE_BYTES))
    this.#frames = new Array(end)
  }

  /**
   * A new arena of `frames`; a memfd where `native` is given, one for each node of `plan`. Throws what the system says where there is no memory, or a node
   * takes none.
   */
  static create(frames: number, native: Native | undefined, plan?: NumaPlan): Arena {
    if (native === undefined)
      return Arena.attach({ kind: 'buffer', buffer: new SharedArrayBuffer(frames * PAGE_BYTES) }, undefined)
    const create = (name: string, frames: number): ArenaPart => {
      const bytes = frames * PAGE_BYTES
      return { fd: native.createMemory(name, bytes), bytes }
    }
    if (plan === undefined) return Arena.attach({ kind: 'memfd', parts: [create('samepage', frames)] }, native)
    const { numbers, table } = plan
    const parts = table.frames.map((frames, node) => create(`samepage-node${numbers[node]}`, frames))
    const memories = parts.map(({ fd, bytes }) => native.mapMemory(fd, bytes))
    for (const [node, segments] of memories.entries())
      for (const segment of segments) native.numa.bindMemory(segment, numbers[node]!)
    return new Arena({ kind: 'memfd', parts }, native, memories.flat())
  }

  /** The arena of a handle, on any thread of the process that made it. */
  static attach(handle: ArenaHandle, native: Native | undefined): Arena {
    if (handle.kind === 'buffer') return new Arena(handle, undefined, [new Uint8Array(handle.buffer)])
    if (native === undefined) throw new Error('this cache is in a memfd, which needs koffi')
    const segments = handle.parts.flatMap(({ fd, bytes }) => native.mapMemory(fd, bytes))
    return new Arena(handle, native, segments)
  }

  /** Whether direct I/O can read into frames: they lie on page boundaries. */
  get isAligned(): boolean {
    return this.handle.kind === 'memfd'
  }

  /** The 4096 bytes of a frame. The same object each time. */
  bytes(frame: number): Uint8Array {
    return this.#frames[frame] ?? this.#make(frame)
  }

  /** The bytes of `frames` in their order; those that lie side by side are one array: what reads into it has less to do. */
  buffers(frames: readonly number[]): Uint8Array[] {
    const buffers: Uint8Array[] = []
    for (let i = 0, count = 1; i < frames.length; i += count) {
      const first = frames[i]!
      const end = this.#ends[this.#segmentOf(first)]!
      count = 1
      while (frames[i + count] === first + count && first + count < end) count++
      buffers.push(count === 1 ? this.bytes(first) : this.#span(first, count))
    }
    return buffers
  }

  /** Gives the memory of frames back to the system. What is read from them afterwards are zeros. */
  giveBack(frames: readonly number[]): void {
    if (this.handle.kind !== 'memfd') return
    for (const frame of frames) {
      let at = frame * PAGE_BYTES
      let part = 0
      for (; at >= this.handle.parts[part]!.bytes; part++) at -= this.handle.parts[part]!.bytes
      this.#native?.punchHole(this.handle.parts[part]!.fd, at, PAGE_BYTES)
    }
  }

  /** Bytes of the arena that are in memory, by node as the system numbers it: what the kernel says. */
  bytesByNode(): Map<number, number> {
    const pages = this.#native?.numa.pagesByNode(this.#segments) ?? []
    return new Map([...pages].map(([node, count]) => [node, count * PAGE_BYTES]))
  }

  /** Gives all memory back. Views that somebody still has show zeros. The keeper's thread, once, when no other uses the arena. */
  destroy(): void {
    if (this.handle.kind !== 'memfd') return
    for (const { fd, bytes } of this.handle.parts) {
      this.#native?.punchHole(fd, 0, bytes)
      this.#native?.close(fd)
    }
  }

  #make(frame: number): Uint8Array {
    const bytes = this.#span(frame, 1)
    this.#frames[frame] = bytes
    return bytes
  }

  /** Of `count` frames in one segment. */
  #span(frame: number, count: number): Uint8Array {
    const index = this.#segmentOf(frame)
    const segment = this.#segments[index]!
    const at = (frame - this.#ends[index]!) * PAGE_BYTES + segment.length
    return segment.subarray(at, at + count * PAGE_BYTES)
  }

  #segmentOf(frame: number): number {
    let index = 0
    while (frame >= this.#ends[index]!) index++
    return index
  }
}
