/**
 * The simulated daemon: opens files as Families decides, remembers decisions, counts the users of homes, reads piece by piece, and
 * checks every unit that it reads: the file must have held it at some moment since it was opened.
 */
import { PieceWalk } from '../cache/resolve.ts'
import { OWN, RunMap } from '../cache/run-map.ts'
import type { Families } from '../homes/families.ts'
import type { Home } from '../homes/home.ts'
import { type HomeUsers, isSameStamp } from '../homes/home-storage.ts'
import type { Serving } from '../homes/serving.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import type { SimHomeStorage, SimSourceFile } from './sim-home-storage.ts'
import type { SimFile, Volume } from './volume.ts'

/** What a reader was given is not what its file held. */
class WrongBytes extends Error {}

interface HomeSlot {
  readonly generation: number
  readonly file: SimFile
  users: number
  isRetired: boolean
}

/** Users of homes by number, as workers have them in shared memory. */
class SimUsers implements HomeUsers {
  readonly #slots = new Map<number, HomeSlot>()

  isUsed(number: number, generation: number): boolean {
    const slot = this.#slots.get(number)
    return slot !== undefined && slot.generation === generation && slot.users > 0
  }

  tryRetire(number: number, generation: number): boolean {
    const slot = this.#slots.get(number)
    if (slot === undefined || slot.generation !== generation) return true
    if (slot.isRetired) throw new Error(`home ${number} is retired twice`)
    if (slot.users > 0) return false
    slot.isRetired = true
    return true
  }

  acquire(home: Home<SimFile>): boolean {
    if (home.state === 'retired') return false
    let slot = this.#slots.get(home.number)
    if (slot === undefined || slot.generation !== home.generation) {
      if (slot !== undefined && slot.users > 0) throw new Error(`number ${home.number} is given away while it is used`)
      slot = { generation: home.generation, file: home.file, users: 0, isRetired: false }
      this.#slots.set(home.number, slot)
    }
    if (slot.isRetired) return false
    slot.users++
    return true
  }

  release(home: Home<SimFile>): void {
    this.#slots.get(home.number)!.users--
  }

  /** The home that a worker finds under a number that it holds. */
  file(number: number): SimFile {
    const slot = this.#slots.get(number)
    if (slot === undefined || slot.users === 0 || slot.file.isGone)
      throw new Error(`home ${number} is read without being held`)
    return slot.file
  }
}

interface OpenFile {
  readonly file: SimSourceFile
  /** The step at which the open began. */
  readonly openedAt: number
  readonly homes: readonly Home<SimFile>[]
  /** undefined: read from the file itself. */
  readonly map: RunMap | undefined
  readonly sizeBytes: number | undefined
}

const ATTEMPTS_MAX = 4

export class SimDaemon {
  readonly opens = { private: 0, pristine: 0, diverged: 0, remembered: 0 }
  /** Units read, and those of them that came from homes. */
  unitsRead = 0
  unitsFromHomes = 0
  readonly users = new SimUsers()
  families: Families<SimSourceFile, SimFile> | undefined
  readonly #remembered = new Map<string, Serving<SimFile>>()
  readonly #volume: Volume
  readonly #storage: SimHomeStorage
  readonly #scheduler: Scheduler
  readonly #random: Random

  constructor(volume: Volume, storage: SimHomeStorage, scheduler: Scheduler, random: Random) {
    this.#volume = volume
    this.#storage = storage
    this.#scheduler = scheduler
    this.#random = random
  }

  forget(key: string): void {
    this.#remembered.delete(key)
  }

  /** Opens a file that exists; undefined when it went meanwhile. */
  async open(file: SimSourceFile): Promise<OpenFile | undefined> {
    const openedAt = this.#scheduler.step
    file.inode.opens++
    try {
      for (let attempt = 1; ; attempt++) {
        const serving = await this.#decide(file)
        if (serving.kind === 'private' || attempt > ATTEMPTS_MAX) {
          this.opens.private++
          return { file, openedAt, homes: [], map: undefined, sizeBytes: undefined }
        }
        const homes = serving.kind === 'pristine' ? [serving.home] : serving.homes
        if (!this.#acquireAll(homes)) {
          this.forget(file.key)
          continue
        }
        this.opens[serving.kind]++
        const map =
          serving.kind === 'pristine'
            ? RunMap.whole(serving.home.number, serving.home.size)
            : RunMap.attach(serving.map.buffer)
        this.#checkSnapshot(file.inode, map, openedAt)
        return { file, openedAt, homes, map, sizeBytes: map.sizeBytes }
      }
    } catch (error) {
      this.#closeInode(file.inode)
      if ((error as { code?: string }).code === 'ENOENT') return undefined
      throw error
    }
  }

  async read(open: OpenFile, offset: number, length: number): Promise<void> {
    const { map, file, openedAt } = open
    const { inode } = file
    if (map !== undefined && !this.#volume.hadSize(inode, map.sizeBytes, openedAt)) {
      throw new WrongBytes(`${inode.name} never had ${map.sizeBytes} bytes`)
    }
    if (map === undefined) {
      await this.#readPiece(open, inode, offset, offset, length)
      return
    }
    const walk = new PieceWalk()
    walk.start(map, offset, length)
    while (walk.next()) {
      const source = walk.home === OWN ? inode : this.users.file(walk.home)
      await this.#readPiece(open, source, walk.offset, offset + walk.done, walk.length)
    }
  }

  close(open: OpenFile): void {
    for (const home of open.homes) this.users.release(home)
    this.#closeInode(open.file.inode)
  }

  async #decide(file: SimSourceFile): Promise<Serving<SimFile>> {
    const known = this.#remembered.get(file.key)
    if (known !== undefined && this.#volume.nowNs / 1e6 < known.recheckAtMs) {
      if (isSameStamp(known.stamp, await this.#storage.stamp(file)) && this.#remembered.get(file.key) === known) {
        this.opens.remembered++
        if (known.kind === 'pristine') this.families!.touched(known.home.number, known.home.generation)
        return known
      }
    }
    const serving = await this.families!.serve(file)
    if (serving.remember) this.#remembered.set(file.key, serving)
    return serving
  }

  /** What lies in homes must be what the file held at one moment, not this page now and that page then. */
  #checkSnapshot(inode: SimFile, map: RunMap, openedAt: number): void {
    const units: [unit: number, value: number][] = []
    const walk = new PieceWalk()
    const { unitBytes } = this.#volume
    for (walk.start(map, 0, map.sizeBytes); walk.next(); ) {
      if (walk.home === OWN) continue
      const home = this.users.file(walk.home)
      for (let at = 0; at < walk.length; at += unitBytes) {
        units.push([(walk.done + at) / unitBytes, this.#volume.value(home, (walk.offset + at) / unitBytes)])
      }
    }
    const moments = this.#volume.momentsSince(inode, openedAt)
    const isSnapshot = (step: number) =>
      units.every(([unit, value]) => this.#volume.valueAt(inode, unit, step) === value)
    if (!moments.some(isSnapshot)) throw new WrongBytes(`${inode.name} never was as its homes have it at once:\n${map}`)
  }

  #acquireAll(homes: readonly Home<SimFile>[]): boolean {
    for (const [i, home] of homes.entries()) {
      if (this.users.acquire(home)) continue
      for (const held of homes.slice(0, i)) this.users.release(held)
      return false
    }
    return true
  }

  /** Reads `length` bytes at `at` of `source`, which are those at `fileOffset` of the file, in as many short reads as it takes. */
  async #readPiece(open: OpenFile, source: SimFile, at: number, fileOffset: number, length: number): Promise<void> {
    const { unitBytes } = this.#volume
    const { inode } = open.file
    let done = 0
    while (done < length) {
      await this.#scheduler.pause()
      const wanted = this.#random.chance(0.2) ? this.#random.between(1, length - done) : length - done
      const got = Math.min(wanted, source.sizeBytes - (at + done))
      if (got <= 0) {
        if (source.isHome) throw new WrongBytes(`${source.name} ends before the bytes that ${inode.name} has there`)
        return
      }
      const first = Math.floor((at + done) / unitBytes)
      const last = Math.floor((at + done + got - 1) / unitBytes)
      for (let unit = first; unit <= last; unit++) {
        const value = this.#volume.value(source, unit)
        const fileUnit = unit + (fileOffset - at) / unitBytes
        this.unitsRead++
        if (source.isHome) this.unitsFromHomes++
        if (this.#volume.held(inode, fileUnit, value, open.openedAt)) continue
        throw new WrongBytes(
          `${inode.name}, opened at step ${open.openedAt}, unit ${fileUnit}: read ${value} from ${source.name} unit ${unit}, ` +
            `but it held ${JSON.stringify(inode.history[fileUnit])}`,
        )
      }
      done += got
    }
  }

  #closeInode(inode: SimFile): void {
    inode.opens--
    this.#volume.reap(inode)
  }
}
