/**
 * The arena: the memory of a cache's frames, and how threads get at it.
 *
 * On Linux it is anonymous memory of the process, at an address that all its threads know: aligned, so that direct I/O reaches it, in huge pages where it is large, and given back to
 * the system page by page when the cache shrinks. Elsewhere, and where koffi cannot be loaded, it is a SharedArrayBuffer. On a machine of several NUMA nodes it is a place for
 * each, bound to its node: the kernel then takes pages from there, whoever touches them first.
 *
 * An array of a view lies in the buffer of a whole segment, and whoever transfers that buffer (a web stream of bytes) takes it from the thread: each array on it has the
 * length 0 from then on. The memory is where it was; so where a length is 0 the buffer is made anew.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { Native } from './native.ts'
import type { NumaPlan } from './numa.ts'

/** What another thread of the process needs to reach the arena; can be sent to it. */
export type ArenaHandle =
  | { readonly kind: 'mapped'; readonly parts: readonly ArenaPart[]; readonly hugePages: boolean }
  | { readonly kind: 'buffer'; readonly buffer: SharedArrayBuffer }

/** Frames at one address, one part's after the other's. */
interface ArenaPart {
  readonly address: number
  readonly bytes: number
}

/** In smaller arenas a huge page of which one frame is used is too much. */
const ARENA_HUGE_PAGES_MIN = 2 ** 26
const HUGE_PAGE_BYTES = 2 ** 21
/** Of a buffer one array shows no more: on Node.js 20 an array has at most 2^32 elements. */
const BUFFER_SEGMENT_BYTES = 2 ** 30

function bind(native: Native, memory: Uint8Array, node: number): void {
  try {
    native.numa.bindMemory(memory, node)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = `memory cannot be bound to NUMA node ${node} (${message}): a container or a service may forbid that`
    throw Object.assign(new Error(why, { cause: error }), { code })
  }
}

/** The parts of an arena as one thread sees them: what one buffer can show. */
interface Segments {
  readonly arrays: Uint8Array[]
  /** By segment; none where they are shared, and stay for ever. */
  readonly places: readonly ArenaPart[]
}

export class Arena {
  readonly handle: ArenaHandle
  readonly #native: Native | undefined
  /** Of the length 0: its buffer was transferred. */
  readonly #segments: Uint8Array[]
  /** By segment, where it lies. */
  readonly #places: readonly ArenaPart[]
  /** By segment, the first frame behind it. */
  readonly #ends: readonly number[]
  /** The bytes of frames that were asked for: made once each. */
  readonly #frames: Uint8Array[]
  /** By segment, the frame behind those that were ever used. On each node they are used in their order first. */
  readonly #usedEnds: number[]
  #hugePages: boolean

  private constructor(handle: ArenaHandle, native: Native | undefined, { arrays, places }: Segments) {
    this.handle = handle
    this.#hugePages = handle.kind === 'mapped' && handle.hugePages
    this.#native = native
    this.#segments = arrays
    this.#places = places
    let end = 0
    this.#ends = arrays.map(({ length }) => (end += length / PAGE_BYTES))
    this.#usedEnds = this.#ends.map((end, index) => end - arrays[index]!.length / PAGE_BYTES)
    this.#frames = new Array(end)
  }

  /** A new arena of `frames`; memory where `native` is given, a place on each node of `plan`. Throws what the system says where there is no memory, or a node takes none. */
  static create(frames: number, native: Native | undefined, plan?: NumaPlan): Arena {
    if (native === undefined)
      return Arena.attach({ kind: 'buffer', buffer: new SharedArrayBuffer(frames * PAGE_BYTES) }, undefined)
    const least = plan === undefined ? frames : Math.min(...plan.table.frames)
    const hugePages = least * PAGE_BYTES >= ARENA_HUGE_PAGES_MIN && native.givesHugePages()
    const take = (frames: number): ArenaPart => {
      const bytes = frames * PAGE_BYTES
      return { address: native.takeMemory(bytes, hugePages), bytes }
    }
    if (plan === undefined) return Arena.attach({ kind: 'mapped', parts: [take(frames)], hugePages }, native)
    const { numbers, table } = plan
    const parts = table.frames.map(take)
    for (const [node, part] of parts.entries())
      for (const segment of segmentsOf([part], native).arrays) bind(native, segment, numbers[node]!)
    return Arena.attach({ kind: 'mapped', parts, hugePages }, native)
  }

  /** The arena of a handle, on any thread of the process that made it. */
  static attach(handle: ArenaHandle, native: Native | undefined): Arena {
    if (handle.kind === 'buffer')
      return new Arena(handle, undefined, { arrays: segmentsOfBuffer(handle.buffer), places: [] })
    if (native === undefined) throw new Error('this cache is in memory that only koffi reaches')
    return new Arena(handle, native, segmentsOf(handle.parts, native))
  }

  /** Whether direct I/O can read into frames: they lie on page boundaries. */
  get isAligned(): boolean {
    return this.handle.kind === 'mapped'
  }

  /** The 4096 bytes of a frame. The same object each time, until its buffer is transferred. */
  bytes(frame: number): Uint8Array {
    const bytes = this.#frames[frame]
    return bytes !== undefined && bytes.length === PAGE_BYTES ? bytes : this.#make(frame)
  }

  /** The byte `at` of a frame: of use to have the processor fetch what lies there before {@link bytes} is needed, whose object is as far from its caches. */
  byteAt(frame: number, at: number): number {
    const index = this.#segmentOf(frame)
    const segment = this.#segmentAt(index)
    return segment[(frame - this.#ends[index]!) * PAGE_BYTES + segment.length + at]!
  }

  /**
   * Copies `count` bytes from byte `from` of `frame` on to `target` at `to`; they may reach into the frames that follow. Unlike {@link bytes} it keeps no object for each
   * frame: for threads that touch all of them and have a small heap.
   */
  copy(frame: number, from: number, count: number, target: Uint8Array, to: number): void {
    for (let done = 0; done < count; ) {
      const position = from + done
      const index = this.#segmentOf(frame + Math.floor(position / PAGE_BYTES))
      const segment = this.#segmentAt(index)
      const at = (frame - this.#ends[index]!) * PAGE_BYTES + segment.length + position
      const length = Math.min(count - done, segment.length - at)
      target.set(segment.subarray(at, at + length), to + done)
      done += length
    }
  }

  /** The bytes of `frames` in their order; those that lie side by side are one array: what reads into it has less to do. */
  buffers(frames: readonly number[]): Uint8Array[] {
    const buffers: Uint8Array[] = []
    for (let i = 0, count = 0; i < frames.length; i += count) {
      const first = frames[i]!
      count = this.#runLength(frames, i)
      this.#use(first + count - 1)
      buffers.push(count === 1 ? this.bytes(first) : this.#span(first, count))
    }
    return buffers
  }

  /**
   * Bytes of memory that huge pages may take beyond the frames that are used, as long as none of these was given back: the rest of the last one on each node. The keeper's thread, as
   * the next two.
   */
  get slackBytes(): number {
    return this.handle.kind === 'mapped' && this.#hugePages
      ? this.handle.parts.length * (HUGE_PAGE_BYTES - PAGE_BYTES)
      : 0
  }

  /** No further huge pages: from now on the arena takes as much memory as its frames. Before it shrinks, for frames come back in any order. */
  forgoHugePages(): void {
    if (!this.#hugePages) return
    this.#hugePages = false
    for (const [index, segment] of this.#all().entries()) {
      this.#native?.forgoHugePages(segment)
      // The rest of the last one.
      const used = segment.length - (this.#ends[index]! - this.#usedEnds[index]!) * PAGE_BYTES
      const end = Math.min(segment.length, Math.ceil(used / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES)
      if (used < end) this.#native?.giveBackMemory(segment.subarray(used, end))
    }
  }

  /** Gives the memory of frames back to the system. What is read from them afterwards are zeros. */
  giveBack(frames: readonly number[]): void {
    if (this.handle.kind !== 'mapped') return
    const used = frames.filter((frame) => frame < this.#usedEnds[this.#segmentOf(frame)]!).sort((a, b) => a - b)
    if (used.length > 0) this.forgoHugePages()
    for (let i = 0, count = 0; i < used.length; i += count) {
      count = this.#runLength(used, i)
      this.#native?.giveBackMemory(this.#span(used[i]!, count))
    }
  }

  /** Bytes of the arena that are in memory, by node as the system numbers it: what the kernel says. */
  bytesByNode(): Map<number, number> {
    const pages = this.#native?.numa.pagesByNode(this.#all()) ?? []
    return new Map([...pages].map(([node, count]) => [node, count * PAGE_BYTES]))
  }

  /** Gives all memory back. Views that somebody still has show zeros. The keeper's thread, once, when no other uses the arena. */
  destroy(): void {
    if (this.handle.kind !== 'mapped') return
    for (const segment of this.#all()) this.#native?.giveBackMemory(segment)
    for (const { address, bytes } of this.handle.parts) this.#native?.leaveMemory(address, bytes)
  }

  /** How many of `frames`, from the one at `index` on, lie side by side in one segment. */
  #runLength(frames: readonly number[], index: number): number {
    const first = frames[index]!
    const end = this.#ends[this.#segmentOf(first)]!
    let count = 1
    while (frames[index + count] === first + count && first + count < end) count++
    return count
  }

  #use(frame: number): void {
    const index = this.#segmentOf(frame)
    if (frame >= this.#usedEnds[index]!) this.#usedEnds[index] = frame + 1
  }

  #make(frame: number): Uint8Array {
    this.#use(frame)
    const bytes = this.#span(frame, 1)
    this.#frames[frame] = bytes
    return bytes
  }

  /** Of `count` frames in one segment. */
  #span(frame: number, count: number): Uint8Array {
    const index = this.#segmentOf(frame)
    const segment = this.#segmentAt(index)
    const at = (frame - this.#ends[index]!) * PAGE_BYTES + segment.length
    return segment.subarray(at, at + count * PAGE_BYTES)
  }

  #all(): Uint8Array[] {
    return this.#segments.map((_, index) => this.#segmentAt(index))
  }

  #segmentAt(index: number): Uint8Array {
    const segment = this.#segments[index]!
    return segment.length > 0 ? segment : this.#showAgain(index)
  }

  /** A new buffer for a segment whose own was transferred. */
  #showAgain(index: number): Uint8Array {
    const { address, bytes } = this.#places[index]!
    const [segment] = this.#native!.viewMemory(address, bytes)
    this.#segments[index] = segment!
    return segment!
  }

  #segmentOf(frame: number): number {
    let index = 0
    while (frame >= this.#ends[index]!) index++
    return index
  }
}

function segmentsOfBuffer(buffer: SharedArrayBuffer): Uint8Array[] {
  const arrays: Uint8Array[] = []
  for (let at = 0; at < buffer.byteLength; at += BUFFER_SEGMENT_BYTES)
    arrays.push(new Uint8Array(buffer, at, Math.min(BUFFER_SEGMENT_BYTES, buffer.byteLength - at)))
  return arrays
}

function segmentsOf(parts: readonly ArenaPart[], native: Native): Segments {
  const arrays: Uint8Array[] = []
  const places: ArenaPart[] = []
  for (const { address, bytes } of parts) {
    let at = address
    for (const array of native.viewMemory(address, bytes)) {
      arrays.push(array)
      places.push({ address: at, bytes: array.length })
      at += array.length
    }
  }
  return { arrays, places }
}
