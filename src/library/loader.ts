/**
 * Loading: from a file or a home into frames; and what was written just now, without reading it. Pages that lie side by side are read with one readv(2), each into its frame.
 *
 * What was asked for beyond what somebody wants (readahead) may fail without anybody noticing: an error of a read with such pages in it makes the wanted ones be
 * read alone.
 *
 * Context: the keeper's thread. A page is loaded once, however many want it: who comes second waits for the first, or, where it cannot wait, reads past the cache.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import { PAGE_BYTES } from '../cache/entry.ts'
import { NO_FRAME } from '../cache/frames.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { WINDOW_MAX, windowMax } from '../cache/readahead.ts'
import type { Arena } from './arena.ts'
import type { KeptPages } from './kept-pages.ts'
import type { Merging } from './merging.ts'
import type { PageSource } from './page-source.ts'

const ZEROS = new Uint8Array(PAGE_BYTES)
/** A write of more is not cached as it passes. */
const CACHED_WRITE_BYTES_MAX = 1 << 20

const read = promisify(fs.read)
const readv = promisify(fs.readv)

/** Frames for pages side by side, reserved. */
interface Batch {
  readonly page: number
  readonly frames: readonly number[]
  /** Of them, from the first on, those that somebody wants. */
  readonly wanted: number
}

/** Bytes that were read, or why none were. */
type Outcome = number | { readonly error: unknown }

interface LoaderCounts {
  /** Read into frames. */
  bytesLoaded: number
  reads: number
}

export class Loader {
  readonly counts: LoaderCounts = { bytesLoaded: 0, reads: 0 }
  /** Undefined: equal pages are not looked for. */
  merging: Merging | undefined
  /** Is told of bytes that have come into memory, and whether that can have grown by them: else they have taken the place of others. */
  onCached: (bytes: number, hasGrown: boolean) => void = () => {}
  readonly #keeper: PageKeeper
  readonly #arena: Arena
  /** Ends of loads under way, by mapping. */
  readonly #waiting = new Map<number, Set<Promise<void>>>()
  #isEnded = false

  constructor(keeper: PageKeeper, arena: Arena) {
    this.#keeper = keeper
    this.#arena = arena
  }

  /**
   * Loads what is missing of `count` pages from `page` on, of which the first `wanted` are asked for. Blocks. Throws the system's error where
   * one of those cannot be read. They may be missing all the same: where there is no room, or they are being loaded just now. `near`: the node of
   * who asks.
   */
  loadSync(source: PageSource, page: number, count: number, wanted: number, near: number): void {
    source.mint?.(this.#keeper.mappings.on(source.mapping, near), page, count)
    const batches = this.#batches(source, page, count, wanted, near)
    for (let step = batches.next(); step.done !== true; ) {
      let outcome: Outcome
      try {
        outcome = readBatch(source, this.#arena, step.value)
      } catch (error) {
        outcome = { error }
      }
      step = batches.next(outcome)
    }
  }

  /** The same without blocking; also waits for wanted pages that are being loaded already. Loads nothing after {@link end}. `kept`: what it must not take the room of. */
  async load(
    source: PageSource,
    page: number,
    count: number,
    wanted: number,
    near: number,
    kept?: KeptPages,
  ): Promise<void> {
    if (this.#isEnded) return
    const mapping = this.#keeper.mappings.on(source.mapping, near)
    source.mint?.(mapping, page, count)
    kept?.add(mapping, page, count)
    const batches = this.#batches(source, page, count, wanted, near, kept)
    for (let step = batches.next(); step.done !== true; ) {
      const end = this.#begin(mapping)
      let outcome: Outcome
      try {
        outcome = await readBatchAsync(source, this.#arena, step.value)
      } catch (error) {
        outcome = { error }
      }
      try {
        step = batches.next(outcome)
      } finally {
        end()
      }
    }
    while (this.#isAnyLoading(mapping, page, wanted)) await Promise.race(this.#waiting.get(mapping)!)
  }

  /** Caches the whole pages of what was written to the file, on the node `near`. `bytes`: those that the file got. */
  cacheWritten(source: PageSource, bytes: Uint8Array, position: number, near: number): void {
    if (bytes.length > CACHED_WRITE_BYTES_MAX) return
    // Another thread may have changed them since the file got them: then the file is asked.
    if (bytes.buffer instanceof SharedArrayBuffer) return
    const keeper = this.#keeper
    const end = position + bytes.length
    const mapping = keeper.mappings.on(source.mapping, near)
    for (let page = Math.ceil(position / PAGE_BYTES); (page + 1) * PAGE_BYTES <= end; page++) {
      if (keeper.isCached(mapping, page) || keeper.isLoading(mapping, page)) continue
      // Another write to it is under way: which of them is the last nobody knows.
      if (!source.isAtRest(page, 1)) continue
      const frame = keeper.reserve(mapping, page, near)
      if (frame === NO_FRAME) break
      const at = page * PAGE_BYTES - position
      this.#arena.bytes(frame).set(bytes.subarray(at, at + PAGE_BYTES))
      keeper.publish(frame, true)
    }
    this.#cached(bytes.length)
  }

  /** Nothing is loaded from now on. Resolves when nothing is being read: who gives the arena's memory back before would find some of it taken again. */
  async end(): Promise<void> {
    this.#isEnded = true
    while (this.#waiting.size > 0) await Promise.all([...this.#waiting.values()].flatMap((ends) => [...ends]))
  }

  /** The batches to be read, one after the other; takes what became of each. */
  *#batches(
    source: PageSource,
    page: number,
    count: number,
    wanted: number,
    near: number,
    kept?: KeptPages,
  ): Generator<Batch, void, Outcome> {
    const wantedEnd = page + wanted
    let end = page + count
    for (;;) {
      const batch = this.#reserve(source, page, end - page, wantedEnd - page, near, kept)
      if (batch === undefined) return
      const outcome = yield batch
      if (typeof outcome === 'number') {
        this.#finish(source, batch, outcome)
        page = batch.page + batch.frames.length
        continue
      }
      for (const frame of batch.frames) this.#keeper.abandon(frame)
      if (batch.wanted === 0) return
      if (batch.wanted === batch.frames.length) throw outcome.error
      // Again, what is wanted alone.
      page = batch.page
      end = wantedEnd
    }
  }

  #isAnyLoading(mapping: number, page: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.#keeper.isLoading(mapping, page + i)) return true
    return false
  }

  /** A load of a page of `mapping` is under way, until the returned function is called. */
  #begin(mapping: number): () => void {
    const waiting = this.#waiting.get(mapping) ?? new Set()
    this.#waiting.set(mapping, waiting)
    let end!: () => void
    const promise = new Promise<void>((resolve) => (end = resolve))
    waiting.add(promise)
    return () => {
      waiting.delete(promise)
      if (waiting.size === 0) this.#waiting.delete(mapping)
      end()
    }
  }

  /** Frames for the first pages of the range that are neither cached nor being loaded; undefined where there are none, or no frames. */
  #reserve(
    source: PageSource,
    page: number,
    count: number,
    wanted: number,
    near: number,
    kept?: KeptPages,
  ): Batch | undefined {
    const keeper = this.#keeper
    if (kept?.isFull === true) return undefined
    const isKept = kept && ((frame: number) => kept.has(keeper.frames.mapping(frame), keeper.frames.page(frame)))
    const mapping = keeper.mappings.on(source.mapping, near)
    const end = Math.min(page + count, Math.ceil(source.size / PAGE_BYTES))
    let first = page
    while (first < end && (keeper.isCached(mapping, first) || keeper.isLoading(mapping, first))) first++
    // What is being loaded cannot go, so others' would in its place. A window of readahead, whose size every thread takes from the same number, is one batch.
    const most = kept === undefined ? WINDOW_MAX : windowMax(keeper.pagesMax)
    const frames: number[] = []
    for (let at = first; at < end && frames.length < most; at++) {
      if (keeper.isCached(mapping, at) || keeper.isLoading(mapping, at) || !source.isAtRest(at, 1)) break
      const frame = keeper.reserve(mapping, at, near, isKept)
      if (frame === NO_FRAME) {
        if (kept !== undefined) kept.isFull = true
        break
      }
      frames.push(frame)
    }
    if (frames.length === 0) return undefined
    return { page: first, frames, wanted: Math.max(0, Math.min(frames.length, page + wanted - first)) }
  }

  /** Publishes what a read of a batch has brought. A read is short at the end of the file only, or where a signal came. */
  #finish(source: PageSource, batch: Batch, bytes: number): void {
    this.counts.reads++
    this.counts.bytesLoaded += bytes
    if (source.isStill?.() === false) {
      for (const frame of batch.frames) this.#keeper.abandon(frame)
      return
    }
    const expected = Math.min(batch.frames.length * PAGE_BYTES, source.size - batch.page * PAGE_BYTES)
    const complete: number[] = []
    for (let i = 0; i < batch.frames.length; i++) {
      const frame = batch.frames[i]!
      const valid = Math.max(0, Math.min(PAGE_BYTES, bytes - i * PAGE_BYTES))
      const isComplete = valid === Math.min(PAGE_BYTES, expected - i * PAGE_BYTES)
      if (!isComplete) {
        this.#keeper.abandon(frame)
        continue
      }
      const page = this.#arena.bytes(frame)
      if (valid < PAGE_BYTES) page.fill(0, valid)
      if (isZero(page)) this.#keeper.publishZero(frame)
      else complete.push(i)
    }
    const merging = this.merging?.beginLoad() === true ? this.merging : undefined
    const pages = merging?.pages ?? this.#keeper
    for (const i of complete) pages.publish(batch.frames[i]!, i < batch.wanted)
    merging?.endLoad()
    this.#keeper.giveWay()
    if (bytes < expected) source.onShrunk()
    this.#cached(bytes)
  }

  #cached(bytes: number): void {
    this.onCached(bytes, !this.#keeper.frames.isFilled)
  }
}

/** Bytes read, at the file's end fewer than asked for. */
function readBatch(source: PageSource, arena: Arena, { page, frames }: Batch): number {
  const buffers = arena.buffers(frames)
  if (source.directFd >= 0 && !source.refusesDirect)
    try {
      return fillSync(source.directFd, buffers, page * PAGE_BYTES)
    } catch (error) {
      if (!isDirectRefused(error)) throw error
      source.refusesDirect = true
    }
  return fillSync(source.fd, buffers, page * PAGE_BYTES)
}

async function readBatchAsync(source: PageSource, arena: Arena, { page, frames }: Batch): Promise<number> {
  const buffers = arena.buffers(frames)
  if (source.directFd >= 0 && !source.refusesDirect)
    try {
      return await fill(source.directFd, buffers, page * PAGE_BYTES)
    } catch (error) {
      if (!isDirectRefused(error)) throw error
      source.refusesDirect = true
    }
  return await fill(source.fd, buffers, page * PAGE_BYTES)
}

/** One buffer is read by read(2): Node.js takes twice as long for a list of one. */
function fillSync(fd: number, buffers: readonly Uint8Array[], position: number): number {
  const [first] = buffers
  return buffers.length === 1
    ? fs.readSync(fd, first!, 0, first!.length, position)
    : fs.readvSync(fd, buffers, position)
}

async function fill(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number> {
  const [first] = buffers
  const { bytesRead } =
    buffers.length === 1
      ? await read(fd, first!, 0, first!.length, position)
      : await readv(fd, buffers as Uint8Array[], position)
  return bytesRead
}

function isZero(page: Uint8Array): boolean {
  return page[0] === 0 && page[PAGE_BYTES - 1] === 0 && Buffer.compare(page, ZEROS) === 0
}

/** The file system has no direct I/O for this file after all, or wants another alignment. */
function isDirectRefused(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EINVAL'
}
