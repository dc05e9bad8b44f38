/**
 * Holders of grants in the simulation: they ask, publish in small steps, fail, abandon, die, are asked to give up, at any moment. The table, the marks in the index and the seqlock are the
 * cache's own; what the library does in between is done here as there, see library/grants/file-grants.ts.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { Exclusion } from '../../cache/grants/exclusion.ts'
import type { Grant, GrantReaders, PassageWish } from '../../cache/grants/grant-authority.ts'
import { GrantTable } from '../../cache/grants/grant-table.ts'
import { VirtualTimers } from '../virtual-timers.ts'
import { HALVES } from './disk.ts'
import type { SimFile } from './files.ts'
import type { World } from './world.ts'

const HOLDERS = ['a', 'b', 'c'] as const
/** In steps of the keeper. */
const HOLD = 25
const REVOKE = 5

/** A grant that a holder has. */
interface Held {
  readonly file: SimFile
  readonly pages: readonly number[]
  readonly readers: GrantReaders
  readonly grant: Grant
  /** From then on nobody finds the pages, until the grant ends or is published. */
  readonly since: number
  publish: Publish | undefined
  /** It is published: readers get it already. */
  isOpen: boolean
}

interface Publish {
  /** What is written, by page. */
  readonly values: ReadonlyMap<number, number>
  readonly old: ReadonlyMap<number, number>
  isReady: boolean
  /** Halves of pages that are written. */
  written: number
}

export class SimGrants {
  readonly #world: World
  /** Time goes on with each step of the keeper. */
  readonly #steps = new VirtualTimers()
  readonly #table = new GrantTable(this.#steps, { holdMs: HOLD, revokeMs: REVOKE })
  readonly #exclusion: Exclusion
  readonly #held = new Set<Held>()
  #names = 0

  constructor(world: World) {
    this.#world = world
    this.#exclusion = new Exclusion(world.cache, world.pages)
  }

  pass(): void {
    this.#steps.pass(1)
  }

  check(): void {
    this.#table.checkInvariants()
  }

  /** Whether nobody has, or wants, a page of the file. */
  isQuiet({ name }: SimFile): boolean {
    return this.#table.isQuiet(name)
  }

  /** The passage of a load or write that would not wait; undefined: it would have to. */
  tryEnter(file: SimFile, page: number, writes: boolean): (() => void) | undefined {
    let entered: (() => void) | undefined
    this.#enter(file, page, { writes, wait: false, onEntered: (leave) => (entered = leave), onRefused: () => {} })
    return entered
  }

  /** One that waits: `onEntered` at last. */
  enter(file: SimFile, page: number, onEntered: (leave: () => void) => void): void {
    const onRefused = (code: string) => {
      throw new Error(`a reader of ${file.name} got ${code}, and would have waited`)
    }
    this.#enter(file, page, { writes: false, wait: true, onEntered, onRefused })
  }

  #enter(file: SimFile, page: number, wish: Omit<PassageWish, 'file' | 'from' | 'to'>): void {
    this.#table.enter({ file: file.name, from: page, to: page + 1, ...wish })
  }

  /** Throws where a reader that began at `begin` has found a page that was somebody's all the while. */
  checkFound(file: SimFile, page: number, begin: number): void {
    for (const held of this.#held)
      if (held.file === file && held.pages.includes(page) && held.since < begin && !held.isOpen)
        throw new Error(
          `page ${page} of ${file.name} was read since ${begin}, and is exclusively ${held.grant.holder}'s since ${held.since}`,
        )
  }

  /** A holder does something. */
  act(): void {
    const { random } = this.#world
    const held = [...this.#held]
    if (held.length === 0 || random.chance(0.3)) this.#request()
    else this.#goOn(random.pick(held))
  }

  /** Publishes that have begun go on. Those that only hold are asked by the table, as soon as somebody waits. */
  goOn(): void {
    for (const held of [...this.#held]) if (held.publish?.isReady === true) this.#publishMore(held)
  }

  /** All grants come to an end. */
  finish(): void {
    for (const held of this.#held) {
      while (held.publish !== undefined) {
        if (!held.publish.isReady) throw new Error('a publish waits for readers, and there are none')
        this.#publishMore(held)
      }
      this.#table.release(held.grant)
    }
    for (const holder of HOLDERS) this.#table.holderGone(holder)
    if (this.#held.size > 0) throw new Error('a holder that is gone has a grant')
  }

  #request(): void {
    const { random, files, counts } = this.#world
    const file = random.pick(files)
    if (file.mapping < 0) return
    const page = random.pick(file.pages)
    const pages = file.pages.includes(page + 1) && random.chance(0.6) ? [page, page + 1] : [page]
    const readers = random.pick<GrantReaders>(['wait', 'last-published'])
    const holder = random.chance(0.3) ? `nobody ${this.#names++}` : random.pick(HOLDERS)
    let held: Held | undefined
    let isEnded = false
    // It is used as long as it is waited for, or had.
    file.users++
    this.#table.request({
      file: file.name,
      from: page,
      to: page + pages.length,
      holder,
      readers,
      wait: random.chance(0.8),
      timeoutMs: random.pick([undefined, 10, 40]),
      onGranted: (grant) => {
        let isTaken = true
        if (readers === 'wait') {
          for (const it of pages) file.exclusives.add(it)
          isTaken = this.#exclusion.take(file, page, page + pages.length)
        }
        counts.grants++
        held = {
          file,
          pages,
          readers,
          grant,
          since: readers === 'wait' ? this.#world.truth.now : Infinity,
          publish: undefined,
          isOpen: false,
        }
        if (!isEnded) this.#held.add(held)
        if (!isTaken) {
          this.#held.delete(held)
          this.#table.release(grant)
        }
      },
      onRefused: () => {
        file.users--
        counts.refusals++
      },
      onEnded: () => {
        isEnded = true
        if (held !== undefined) this.#held.delete(held)
        this.#exclusion.giveBack(file, page, page + pages.length)
        for (const it of pages) file.exclusives.delete(it)
        file.users--
      },
    })
  }

  #goOn(held: Held): void {
    const { random } = this.#world
    if (held.publish !== undefined) {
      if (held.publish.isReady) this.#publishMore(held)
      return
    }
    const what = random.below(20)
    if (what < 10) this.#beginPublish(held)
    else if (what < 12) this.#table.release(held.grant)
    else if (what < 13) this.#table.holderGone(held.grant.holder)
    else if (what < 14) this.#table.revoke(held.grant, random.below(5))
  }

  #beginPublish(held: Held): void {
    const { truth } = this.#world
    const { file, grant, pages } = held
    if (this.#isPublishing(file)) return
    const values = new Map(pages.map((page) => [page, this.#world.freshValue()]))
    const old = new Map(pages.map((page) => [page, truth.value(file.name, page)]))
    const publish: Publish = { values, old, isReady: false, written: 0 }
    held.publish = publish
    const isBegun = this.#table.beginPublish(grant, () => {
      this.#exclusion.beginPublish(file.mapping, grant.from, grant.to)
      for (const page of pages) file.exclusives.add(page)
      publish.isReady = true
    })
    if (!isBegun) throw new Error('a grant cannot be published, and has not ended')
  }

  /** One of a file at a time. */
  #isPublishing(file: SimFile): boolean {
    return [...this.#held].some((other) => other.file === file && other.publish !== undefined)
  }

  /** Half a page more, or the end; or it fails. */
  #publishMore(held: Held): void {
    const { random, disk, truth, counts, keeperProcessor } = this.#world
    const { file, grant, pages } = held
    const publish = held.publish!
    // A system call.
    keeperProcessor.flush()
    if (random.chance(0.05)) {
      for (const page of pages) disk.writePage(file, page, publish.old.get(page)!)
      file.own?.add(grant.from * PAGE_BYTES, grant.to * PAGE_BYTES)
      this.#world.pages.drop(file.mapping, grant.from, grant.to)
      this.#endPublish(held)
      this.#table.endPublish(grant)
      return
    }
    if (publish.written < pages.length * HALVES.length) {
      const page = pages[publish.written >> 1]!
      disk.write(file, page, publish.written++ & 1, publish.values.get(page)!)
      return
    }
    const ends = pages.map((page) => truth.publish(file.name, page, publish.values.get(page)!))
    for (const page of pages) file.clones.delete(page)
    held.isOpen = true
    this.#exclusion.written(file, grant.from, grant.to)
    this.#endPublish(held)
    for (const end of ends) end()
    counts.publishes++
    this.#table.endPublish(grant)
    this.#table.release(grant)
  }

  #endPublish(held: Held): void {
    const { file, pages, readers } = held
    held.publish = undefined
    if (readers === 'last-published') for (const page of pages) file.exclusives.delete(page)
    this.#exclusion.endPublish(file.mapping)
  }
}
