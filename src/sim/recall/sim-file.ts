/** A file of the simulated mount: its pages, and the ranges of it that are granted. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { GrantReaders } from '../../cache/grants/grant-authority.ts'
import type { GrantBytes, GrantFile } from '../../daemon/grants/grant-file.ts'
import type { InodeNumber } from '../../daemon/grants/granted-ranges.ts'
import type { Halves } from './truth.ts'
import type { World } from './world.ts'

const ENOSPC = 28

/** A range whose bytes are somebody's. */
interface Held {
  readonly from: number
  readonly to: number
  readonly pid: () => number | undefined
  /** Since its holder knows of it. */
  readers: GrantReaders | undefined
}

/** Memory with the bytes of a grant. */
export interface GrantMemory {
  readonly held: Held
  /** By page. */
  values: number[]
  /** Whose it is, since he has heard of it. */
  pid: number | undefined
}

export class SimFile implements GrantFile {
  readonly slot: number
  readonly key: string
  readonly number: InodeNumber
  readonly pages: [number, number][]
  /** Changes with each write. */
  ctime = 0
  users = 0
  readonly #world: World
  readonly #held = new Set<Held>()

  constructor(world: World, slot: number, pages: number) {
    this.#world = world
    this.slot = slot
    this.key = `file ${slot}`
    this.number = { fs: 0, inoLow: slot, inoHigh: 0 }
    this.pages = Array.from({ length: pages }, (_, page) => {
      const value = world.truth.now(this.key, page)
      return [value, value]
    })
  }

  get path(): string {
    return this.key
  }

  size(): number {
    return this.pages.length * PAGE_BYTES
  }

  share(): this {
    this.users++
    return this
  }

  release(): void {
    if (--this.users < 0) throw new Error(`${this.key} is released once too often`)
  }

  async inTheWay(): Promise<string | undefined> {
    await this.#world.pauseInMount()
    return this.#world.random.chance(0.02) ? 'somebody has it mapped' : undefined
  }

  copy(start: number, length: number): GrantBytes {
    const { world, from, to } = { world: this.#world, from: start / PAGE_BYTES, to: (start + length) / PAGE_BYTES }
    const given = this.pages.slice(from, to).map(([value]) => value)
    world.interleave()
    const memory: GrantMemory = {
      held: { from, to, pid: () => memory.pid, readers: undefined },
      values: [...given],
      pid: undefined,
    }
    this.#held.add(memory.held)
    const descriptor = world.memories.push(memory) - 1
    return {
      start,
      length,
      memory: descriptor,
      publish: () => this.#publish(from, given, memory, descriptor),
      close: () => this.#held.delete(memory.held),
    }
  }

  forgetCopies(): Promise<void> {
    return this.#world.pauseInMount()
  }

  /** A page, as a request of `pid` finds it now. */
  look(page: number, pid: number): Halves {
    this.checkRead(page, pid)
    const [a, b] = this.pages[page]!
    this.#world.truth.checkSeen(this.key, page, a)
    this.#world.truth.checkSeen(this.key, page, b)
    return [a, b]
  }

  /** Throws where somebody has the page alone. */
  checkRead(page: number, pid: number | undefined): void {
    for (const held of this.#held)
      if (held.readers === 'wait' && covers(held, page) && (pid === undefined || held.pid() !== pid))
        throw new Error(`page ${page} of ${this.key} is read while somebody has it alone`)
  }

  write(page: number, value: number): void {
    if ([...this.#held].some((held) => covers(held, page)))
      throw new Error(`page ${page} of ${this.key} is written while somebody has it alone`)
    this.pages[page] = [value, value]
    this.ctime++
    this.#world.truth.write(this.key, page, value)
  }

  check(): void {
    this.#world.truth.checkEnd(this.key, this.pages as Halves[])
    if (this.users > 0 || this.#held.size > 0) throw new Error(`${this.key} is still used`)
  }

  /** Half a page after the other; where it fails what was written is put back. Others go on in between. */
  #publish(from: number, given: readonly number[], { values }: GrantMemory, descriptor: number): number {
    const { truth, random, counts } = this.#world
    for (const [i, value] of given.entries())
      if (this.pages[from + i]!.some((half) => half !== value))
        throw new Error(`what was written to page ${from + i} of ${this.key} since it was granted is lost`)
    const failsAt = random.chance(0.2) ? random.below(values.length * 2) : -1
    for (let half = 0; half < values.length * 2; half++) {
      if (half === failsAt) {
        for (const [i, value] of given.entries()) this.pages[from + i] = [value, value]
        counts.noSpace++
        return -ENOSPC
      }
      this.pages[from + (half >> 1)]![half & 1] = values[half >> 1]!
      this.ctime++
      this.#world.interleave()
    }
    truth.publish(this.key, from, values, descriptor)
    return 0
  }
}

const covers = ({ from, to }: Held, page: number): boolean => from <= page && page < to
