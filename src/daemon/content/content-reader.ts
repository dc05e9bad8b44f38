/**
 * Reading from the arena behind the mount: from pages of a content file, or of a home, to bytes in a reply. Any thread, without locks, no system call.
 *
 * Frames that lie side by side, as those do that were loaded together, are copied at once. What was copied counts if all frames are what they were when they were looked up, as
 * in the library (cache/lookup.ts), and the mapping is that of this file still.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { FOUND, Lookup } from '../../cache/lookup.ts'
import { Arena } from '../../library/arena.ts'
import { linuxNative } from '../../library/linux-native.ts'
import { NEEDS_FENCE } from '../../library/page-reader.ts'
import type { ContentRef } from './content-files.ts'
import type { ArenaMemory } from './mount-arena.ts'

/** Frames copied at once. */
const SPAN_MAX = 64

export class ContentReader {
  protected readonly lookup: Lookup
  readonly #arena: Arena
  /** Of the frames of a span. */
  protected readonly generations = new Int32Array(SPAN_MAX)

  constructor({ memory, arena }: ArenaMemory) {
    this.lookup = new Lookup(memory, NEEDS_FENCE)
    this.#arena = Arena.attach(arena, linuxNative)
  }

  /**
   * Copies up to `length` bytes of the file from `position` on to the start of `target`: how many, up to the first page that is not in memory. The range lies within the
   * file.
   */
  copy({ mapping: first, version }: ContentRef, position: number, target: Uint8Array, length: number): number {
    const { lookup } = this
    const mapping = this.mappingOf(first)
    let done = 0
    while (done < length) {
      const page = Math.floor((position + done) / PAGE_BYTES)
      const from = position + done - page * PAGE_BYTES
      const frame = lookup.find(mapping, page)
      if (frame === FOUND.NOTHING || frame === FOUND.DIRECT) break
      if (frame === FOUND.ZERO) {
        const count = Math.min(PAGE_BYTES - from, length - done)
        target.fill(0, done, done + count)
        done += count
        continue
      }
      const frames = this.#span(mapping, page, frame, Math.ceil((from + length - done) / PAGE_BYTES))
      const count = Math.min(frames * PAGE_BYTES - from, length - done)
      this.#arena.copy(frame, from, count, target, done)
      // One was given to another page meanwhile: look again.
      if (!this.#areStill(frame, frames)) continue
      this.copied(frame, frames, count)
      done += count
    }
    // The mapping may have been another file's by then.
    return lookup.layoutOf(mapping) === version ? done : 0
  }

  /** Whether `page` of the file is in memory now. A hint. */
  has({ mapping }: ContentRef, page: number): boolean {
    const frame = this.lookup.find(this.mappingOf(mapping), page)
    return frame >= 0 || frame === FOUND.ZERO
  }

  /** Of a file's mappings the one to look in. */
  mappingOf(mapping: number): number {
    return mapping
  }

  /** `count` bytes were copied from `frames` side by side, of those {@link generations}. */
  protected copied(_first: number, _frames: number, _count: number): void {}

  /** How many pages from `page` on, which is in `first`, at most `limit`, lie in frames side by side. */
  #span(mapping: number, page: number, first: number, limit: number): number {
    const { lookup, generations } = this
    generations[0] = lookup.generation
    let frames = 1
    while (frames < limit && frames < SPAN_MAX && lookup.find(mapping, page + frames) === first + frames)
      generations[frames++] = lookup.generation
    return frames
  }

  #areStill(first: number, frames: number): boolean {
    for (let i = 0; i < frames; i++) if (!this.lookup.isStill(first + i, this.generations[i]!)) return false
    return true
  }
}
