/** The simulated volume as Families sees it: every call takes steps, between which anything may happen, and may fail. */
import type { HomeStorage, SourceFile, Stamp } from '../homes/home-storage.ts'
import { ExtentList } from '../storage/extents.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import type { SimFile, Volume } from './volume.ts'

export interface SimSourceFile extends SourceFile {
  readonly inode: SimFile
}

export interface Faults {
  /** Probability that reading extents fails with EIO. */
  readonly extents: number
  /** Probability that a clone fails for want of space, of a quota, of descriptors, or with EIO. */
  readonly clone: number
  /** Can it be told whether a file is open for writing? */
  readonly writersUnknown: boolean
}

class SimError extends Error {
  readonly code: string

  constructor(code: string) {
    super(`${code} (simulated)`)
    this.code = code
  }
}

export class SimHomeStorage implements HomeStorage<SimSourceFile, SimFile> {
  faults: Faults
  /** How often a file's extents have been read to the end: what an adversary who watches the device could know. */
  readonly looks = new Map<SimFile, number>()
  /** Told of every unit whose extent has just been looked up. */
  readonly watchers = new Set<(file: SimFile, unit: number) => void>()
  readonly #volume: Volume
  readonly #scheduler: Scheduler
  readonly #random: Random
  #homesMade = 0

  constructor(volume: Volume, scheduler: Scheduler, random: Random, faults: Faults) {
    this.#volume = volume
    this.#scheduler = scheduler
    this.#random = random
    this.faults = faults
  }

  stamp({ inode }: SimSourceFile): Promise<Stamp> {
    return this.#between(() => {
      if (inode.isGone) throw new SimError('ENOENT')
      return {
        ctimeSec: Math.floor(inode.ctimeNs / 1e9),
        ctimeNsec: inode.ctimeNs % 1e9,
        size: inode.sizeBytes,
        nlink: inode.nlink,
      }
    })
  }

  async extents({ inode }: SimSourceFile, start: number, length: number, limit: number): Promise<ExtentList> {
    if (inode.isGone) throw new SimError('ENOENT')
    const list = await this.#extents(inode, start, length)
    if (list.count > limit) throw new SimError('E2BIG')
    return list
  }

  homeExtents(home: SimFile, start: number, length: number): Promise<ExtentList> {
    return this.#extents(home, start, length)
  }

  createHome({ inode }: SimSourceFile): Promise<SimFile> {
    return this.#between(() => {
      if (inode.isGone) throw new SimError('ENOENT')
      if (this.#random.chance(this.faults.clone)) {
        throw new SimError(this.#random.pick(['ENOSPC', 'EDQUOT', 'EMFILE', 'EIO', 'EINVAL']))
      }
      return this.#volume.clone(inode, `home-${++this.#homesMade}-of-${inode.name}`, true)
    })
  }

  dropHome(home: SimFile): Promise<void> {
    return this.#between(() => this.#volume.dropHome(home))
  }

  isOpenForWriting({ inode }: SimSourceFile): Promise<boolean | undefined> {
    return this.#between(() => (this.faults.writersUnknown ? undefined : inode.writers > 0))
  }

  reuseCounter(): Promise<number | undefined> {
    const { countsReuse } = this.#volume.promises
    return this.#between(() => (countsReuse ? this.#volume.reuseCounter : undefined))
  }

  /** Each unit may be looked up at another moment. */
  async #extents(file: SimFile, start: number, length: number): Promise<ExtentList> {
    const list = new ExtentList()
    const { unitBytes } = this.#volume
    const end = start + length
    await this.#scheduler.pause()
    if (this.#random.chance(this.faults.extents)) throw new SimError('EIO')
    if (this.#volume.flushesForExtents) this.#volume.flush(file)
    for (let unit = Math.floor(start / unitBytes); unit * unitBytes < end; unit++) {
      if (this.#random.chance(0.3)) await this.#scheduler.pause()
      this.#volume.extentOf(file, unit, start, end, list)
      for (const watch of this.watchers) watch(file, unit)
    }
    this.looks.set(file, (this.looks.get(file) ?? 0) + 1)
    await this.#scheduler.pause()
    return list
  }

  /** What happens at one moment during a call. */
  async #between<T>(act: () => T): Promise<T> {
    await this.#scheduler.pause()
    const result = act()
    await this.#scheduler.pause()
    return result
  }
}
