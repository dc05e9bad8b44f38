/**
 * Writes of one file that have to wait are combined.
 *
 * ```
 *   write ──▶ waiting ──▶ runs ──▶ under way (CALLS_MAX calls at a time) ──▶ resolved
 *             as they     pieces side by side, of what overlaps the later:
 *             came        one pwritev(2) each
 * ```
 * The file system lets one writer into an inode at a time, so what is sent to it beside those only waits in the kernel, and holds a thread of the pool there. Here it waits in memory, where
 * many small writes become one call, and what is written over before it began is not written at all.
 *
 * - Overlapping writes reach the file in the order in which they were asked for.
 * - What changes the file in another way (its length) is made alone: after what was asked for before it, and before what was asked for later.
 * - A write resolves when its bytes are in the file, or were and have been written over.
 * - Runs that fail are tried once more write by write: an error reaches those alone whose own bytes cannot be written.
 *
 * Bytes are not copied: they must stay as they are until their write is settled. Nothing here knows of pages: whoever asks has prepared them, and keeps them so meanwhile.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import { callBytes, isNoSpace } from './errors.ts'

const writeOne = promisify(fs.write)
const writeMany = promisify(fs.writev)

/** One is in the file, and one on its way in. */
const CALLS_MAX = 2

/** Bytes [start, end) of a file, and what they become. */
interface Write {
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

/** What one call writes: `buffers` one after the other from `start` on, for `writes` in the order in which they came. */
interface Run<W extends Write> {
  readonly start: number
  end: number
  readonly buffers: Uint8Array[]
  readonly writes: W[]
}

interface Waiting extends Write {
  resolve(): void
  reject(error: unknown): void
}

/** A change that is no write. */
interface Alone {
  readonly change: () => Promise<void>
  resolve(): void
  reject(error: unknown): void
}

/** Writes buffers one after the other from `position` on: pwritev(2). Resolves with the number of bytes written, perhaps not all, but some. */
type WriteCall = (buffers: readonly Uint8Array[], position: number) => Promise<number>

export class CombinedWrites {
  readonly #call: WriteCall
  readonly #makeSpace: () => Promise<void>
  /** As they came. Writes are combined up to the next change that is none. */
  #waiting: (Waiting | Alone)[] = []
  /** Disjoint, to be begun in this order; last first. */
  #runs: Run<Waiting>[] = []
  readonly #underWay = new Set<Run<Waiting>>()
  /** A change that is no write is under way. */
  #isAlone = false

  /** `makeSpace`: where the device is full, gives back what it can; then it is tried once more. */
  constructor(call: WriteCall, makeSpace: () => Promise<void>) {
    this.#call = call
    this.#makeSpace = makeSpace
  }

  /** Writes all of `bytes`, which are not none. Rejects with the system's error; then part of them may have been written. */
  write(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, start: position, end: position + bytes.length, resolve, reject })
      this.#begin()
    })
  }

  /** Makes another change of the file, when it is its turn. Settles as that does. */
  alone(change: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ change, resolve, reject })
      this.#begin()
    })
  }

  /** Begins what may be begun. */
  #begin(): void {
    while (this.#underWay.size < CALLS_MAX && !this.#isAlone) {
      if (this.#runs.length === 0) {
        const first = this.#waiting[0]
        if (first !== undefined && isAlone(first)) {
          this.#beginAlone(first)
          return
        }
        this.#runs = combine(this.#takeWrites()).reverse()
      }
      const run = this.#runs.at(-1)
      if (run === undefined || this.#isInTheWay(run)) return
      this.#runs.pop()
      this.#underWay.add(run)
      void this.#writeRun(run).then(() => {
        this.#underWay.delete(run)
        this.#begin()
      })
    }
  }

  /** The writes that were asked for before the next change that is none. */
  #takeWrites(): Waiting[] {
    const end = this.#waiting.findIndex(isAlone)
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end) as Waiting[]
  }

  #beginAlone({ change, resolve, reject }: Alone): void {
    if (this.#underWay.size > 0) return
    this.#waiting.shift()
    this.#isAlone = true
    void change()
      .then(resolve, reject)
      .then(() => {
        this.#isAlone = false
        this.#begin()
      })
  }

  /** Something under way overlaps it: that came first. */
  #isInTheWay({ start, end }: Run<Waiting>): boolean {
    for (const other of this.#underWay) if (other.start < end && start < other.end) return true
    return false
  }

  async #writeRun({ start, buffers, writes }: Run<Waiting>): Promise<void> {
    try {
      if (writes.length > 1) {
        await this.#writeAll(buffers, start)
        for (const { resolve } of writes) resolve()
        return
      }
    } catch {
      // Whose bytes it was turns out below.
    }
    for (const { bytes, start, resolve, reject } of writes) await this.#writeAll([bytes], start).then(resolve, reject)
  }

  async #writeAll(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const written = new Progress(buffers, position)
    try {
      await this.#writeRest(written)
    } catch (error) {
      if (!isNoSpace(error)) throw error
      await this.#makeSpace()
      await this.#writeRest(written)
    }
  }

  async #writeRest(written: Progress): Promise<void> {
    while (written.rest.length > 0) written.add(await this.#call(written.rest, written.position))
  }
}

function isAlone(it: Waiting | Alone): it is Alone {
  return 'change' in it
}

/** As a {@link WriteCall}. More buffers than one call takes are libuv's business. */
export async function writeBuffers(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number> {
  const [first] = buffers
  if (buffers.length > 1) return (await writeMany(fd, buffers, position)).bytesWritten
  return (await writeOne(fd, first!, 0, callBytes(first!.length), position)).bytesWritten
}

/** How far a call that wrote less than all has come. */
class Progress {
  rest: Uint8Array[]
  position: number

  constructor(buffers: readonly Uint8Array[], position: number) {
    this.rest = [...buffers]
    this.position = position
  }

  add(count: number): void {
    this.position += count
    let first = 0
    for (; first < this.rest.length && this.rest[first]!.length <= count; first++) count -= this.rest[first]!.length
    this.rest.splice(0, first)
    if (count > 0) this.rest[0] = this.rest[0]!.subarray(count)
  }
}

/**
 * The runs, in the order of the file, that leave the file as `writes` would one after the other. Each byte is written once. Between two cuts (a write's start or end) one write wins; the last one
 * chooses first, and who comes later finds what is left over by following `next`, as in a union of disjoint sets. Takes n log n steps.
 */
export function combine<W extends Write>(writes: readonly W[]): Run<W>[] {
  if (writes.length === 1)
    return [{ start: writes[0]!.start, end: writes[0]!.end, buffers: [writes[0]!.bytes], writes: [...writes] }]
  const cuts = [...new Set(writes.flatMap(({ start, end }) => [start, end]))].sort((a, b) => a - b)
  const cutAt = new Map(cuts.map((cut, i) => [cut, i]))
  const winners = new Array<W | undefined>(cuts.length)
  const next = Int32Array.from(cuts.keys())
  const free = (i: number): number => {
    while (next[i] !== i) i = next[i] = next[next[i]!]!
    return i
  }
  for (const write of writes.toReversed()) {
    const end = cutAt.get(write.end)!
    for (let i = free(cutAt.get(write.start)!); i < end; i = free(i)) {
      winners[i] = write
      next[i] = i + 1
    }
  }
  const runs: Run<W>[] = []
  /** By cut. */
  const runAt = new Array<Run<W>>(cuts.length)
  for (let i = 0; i < cuts.length - 1; ) {
    const first = i
    const winner = winners[first]
    while (i < cuts.length - 1 && winners[i] === winner) i++
    if (winner === undefined) continue
    const start = cuts[first]!
    const end = cuts[i]!
    const last = runs.at(-1)
    const run = last?.end === start ? last : { start, end, buffers: [], writes: [] }
    if (run !== last) runs.push(run)
    run.end = end
    run.buffers.push(winner.bytes.subarray(start - winner.start, end - winner.start))
    runAt.fill(run, first, i)
  }
  for (const write of writes) runAt[cutAt.get(write.start)!]!.writes.push(write)
  return runs
}
