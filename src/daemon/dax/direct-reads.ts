/**
 * Reading homes where they lie, as a worker does it: from a window on the device to a reply, no system call, no lock. Who calls has the file open, so its homes are held, and so are their windows:
 * see direct-homes.ts. A home's bytes never change, so nothing needs to be validated afterwards, but for what is found in the arena.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { HitSampler } from '../../cache/hit-samples.ts'
import { Windows } from '../../library/windows.ts'
import { viewWindow } from '../../linux/windows.ts'
import type { ContentReader } from '../content/content-reader.ts'
import type { DirectHome } from './direct-homes.ts'

export class DirectReads {
  /** What was read since this was set: pages on devices, and bytes of pages that have been promoted. */
  pagesDirect = 0
  bytesPromoted = 0
  readonly #windows: Windows

  constructor(windows = new Windows(viewWindow)) {
    this.#windows = windows
  }

  /** Whether `length` bytes of the home from `position` on can be had here. */
  covers({ window }: DirectHome, position: number, length: number): boolean {
    return position + length <= window.bytes
  }

  /** Copies them to the start of `target`. */
  copy(home: DirectHome, position: number, target: Uint8Array, length: number): void {
    this.copyDirect(home, position, target, 0, length)
  }

  protected copyDirect({ window }: DirectHome, position: number, target: Uint8Array, at: number, length: number): void {
    this.#windows.copyRange(window, position, target, at, length)
    this.pagesDirect += Math.floor((position + length - 1) / PAGE_BYTES) - Math.floor(position / PAGE_BYTES) + 1
  }
}

/** The same with `--dax auto`: what has been promoted is read in the arena; what has not is sampled. */
export class PromotedReads extends DirectReads {
  readonly #reader: ContentReader
  /** By node. */
  readonly #samplers: HitSampler[] = []
  readonly #send: (node: number, samples: Int32Array) => void
  #node = 0

  /** `send` is given samples of reads on a node: pairs of mapping and page. */
  constructor(reader: ContentReader, send: (node: number, samples: Int32Array) => void, windows?: Windows) {
    super(windows)
    this.#reader = reader
    this.#send = send
  }

  /** From now on pages are promoted to memory of `node`. */
  at(node: number): void {
    this.#node = node
  }

  override copy(home: DirectHome, position: number, target: Uint8Array, length: number): void {
    const { copies } = home
    if (copies === undefined) {
      super.copy(home, position, target, length)
      return
    }
    const reader = this.#reader
    for (let done = 0; done < length; ) {
      const promoted = reader.copy(copies, position + done, done === 0 ? target : target.subarray(done), length - done)
      this.bytesPromoted += promoted
      done += promoted
      if (done === length) return
      // The first page is not in the arena; those that follow it until one is are read at once.
      const first = Math.floor((position + done) / PAGE_BYTES)
      const end = Math.ceil((position + length) / PAGE_BYTES)
      let page = first + 1
      while (page < end && !reader.has(copies, page)) page++
      const count = Math.min(page * PAGE_BYTES - position, length) - done
      this.copyDirect(home, position + done, target, done, count)
      this.#sample(reader.mappingOf(copies.mapping), first, page)
      done += count
    }
  }

  #sample(mapping: number, from: number, to: number): void {
    const node = this.#node
    this.#samplers[node] ??= new HitSampler((samples) => this.#send(node, samples))
    const sampler = this.#samplers[node]!
    for (let page = from; page < to; page++) sampler.found(mapping, page)
  }
}
