/** What a seed makes: the volume with its first files, the families, the daemon, and the rules that they live by. */
import { PAGE_BYTES } from '../cache/entry.ts'
import { Families, type FamiliesOptions } from '../homes/families.ts'
import { Random } from './random.ts'
import { Scheduler } from './scheduler.ts'
import { SimDaemon } from './sim-daemon.ts'
import { type Faults, SimHomeStorage, type SimSourceFile } from './sim-home-storage.ts'
import { PROMISES, type SimFile, Volume } from './volume.ts'

const NS_PER_MS = 1e6
/** Longest time that a write takes, where writers cannot be seen. */
const SETTLE_MS = 50

export class World {
  readonly random: Random
  readonly scheduler: Scheduler
  readonly volume: Volume
  readonly storage: SimHomeStorage
  readonly daemon: SimDaemon
  readonly families: Families<SimSourceFile, SimFile>
  readonly options: Required<FamiliesOptions>
  readonly description: string
  /** When the writes under way began; time does not pass them by where nobody could see them. */
  readonly writesSinceNs = new Set<{ startNs: number }>()
  readonly #writersUnknown: boolean
  /** Virtual milliseconds that a step takes at most, mostly. */
  readonly #stepMs: number
  /** Probability that everybody goes for the same file. */
  readonly #crowding: number
  readonly #sources = new Map<SimFile, SimSourceFile>()
  #filesMade = 0

  constructor(seed: number) {
    const random = new Random(seed)
    this.random = random
    this.scheduler = new Scheduler(random)
    const promises = random.pick(PROMISES)
    const unitBytes = random.chance(0.7) ? PAGE_BYTES : PAGE_BYTES / 2
    const granuleMs = random.chance(0.5) ? 0 : 20
    this.volume = new Volume(random, promises, unitBytes, granuleMs * NS_PER_MS)
    this.#writersUnknown = random.chance(0.25)
    this.#stepMs = random.pick([0.02, 0.2, 2])
    this.#crowding = random.pick([0, 0.5, 0.9])
    const isFaulty = random.chance(0.3)
    const faults: Faults = {
      extents: isFaulty ? 0.02 : 0,
      clone: isFaulty ? 0.15 : 0,
      writersUnknown: this.#writersUnknown,
    }
    this.storage = new SimHomeStorage(this.volume, this.scheduler, random, faults)
    this.daemon = new SimDaemon(this.volume, this.storage, this.scheduler, random)
    this.options = {
      minShareBytes: random.between(1, 2) * PAGE_BYTES,
      minSharePart: 0,
      largeShareBytes: random.pick([1, 5, 5, 8]) * PAGE_BYTES,
      maxExtents: random.chance(0.1) ? 5 : 1000,
      maxHomes: random.between(1, 6),
      idleMs: random.pick([50, 200, 1000]),
      ctimeGranularityMs: granuleMs,
      settleMs: SETTLE_MS,
      supersedeCoverage: 0.8,
      recheckMs: 30,
      membersPerHome: random.pick([1, 2, 8]),
      firstSharerExtentsMax: random.pick([3, 100]),
      onForget: (key) => this.daemon.forget(key),
    }
    const clock = () => this.volume.nowNs / NS_PER_MS
    this.families = new Families(this.storage, this.daemon.users, clock, this.options)
    this.daemon.families = this.families
    this.description = `${promises.name}, units of ${unitBytes}, ctimes ${granuleMs || 'fine'}${this.#writersUnknown ? ', writers unknown' : ''}${isFaulty ? ', faults' : ''}`
    this.#makeFiles()
  }

  /** Called before each step: time passes, mostly little. */
  tick(): void {
    const { volume, random } = this
    volume.step = this.scheduler.step
    const isLeap = random.chance(this.#writersUnknown && this.writesSinceNs.size > 0 ? 0.05 : 0.01)
    const passedMs = isLeap ? random.below(60) : (this.#stepMs * random.below(100)) / 100
    let nowNs = volume.nowNs + Math.round(passedMs * NS_PER_MS)
    if (this.#writersUnknown) {
      for (const { startNs } of this.writesSinceNs) nowNs = Math.min(nowNs, startNs + (SETTLE_MS - 1) * NS_PER_MS)
    }
    volume.nowNs = Math.max(nowNs, volume.nowNs)
    if (this.scheduler.step % 50 === 0) this.checkInvariants()
  }

  checkInvariants(): void {
    this.volume.checkInvariants()
    this.families.checkInvariants()
  }

  /** Named files that exist. */
  get files(): SimFile[] {
    return [...this.volume.files].filter((file) => !file.isHome && file.nlink > 0)
  }

  /** A file for an actor to deal with; undefined: there is none. */
  anyFile(): SimFile | undefined {
    const { files } = this
    if (files.length === 0) return undefined
    return this.random.chance(this.#crowding) ? files[0] : this.random.pick(files)
  }

  source(file: SimFile): SimSourceFile {
    let source = this.#sources.get(file)
    if (source === undefined) {
      source = { key: file.name, fileSystem: 'volume', domain: 0, inode: file }
      this.#sources.set(file, source)
    }
    return source
  }

  name(): string {
    return `file-${++this.#filesMade}`
  }

  /** Nothing and nobody is young any more. */
  letTimePass(ms: number): void {
    this.volume.nowNs += ms * NS_PER_MS
  }

  /** Lets others go first for a while. */
  async wait(steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) await this.scheduler.pause()
  }

  /** A file with random contents, a few holes, perhaps an odd size. */
  makeFile(units: number): SimFile {
    const { random, volume } = this
    const file = volume.create(this.name(), units)
    for (let unit = 0; unit < units; unit++) {
      if (!random.chance(0.12)) volume.writeCached(file, unit, volume.freshValue())
    }
    if (random.chance(0.3)) volume.setSize(file, file.sizeBytes - random.between(1, volume.unitBytes - 1))
    volume.flush(file)
    return file
  }

  #makeFiles(): void {
    const { random, volume } = this
    const originals = random.between(1, 2)
    for (let i = 0; i < originals; i++) {
      const units = random.between(5, 10)
      const original = this.makeFile(units)
      if (random.chance(0.3)) volume.compress(original, random.below(units - 1))
      if (random.chance(0.2)) volume.makeInline(original, random.below(units))
      if (random.chance(0.3)) volume.preallocate(original, random.below(units))
      const clones = random.between(1, 3)
      for (let k = 0; k < clones; k++) {
        const clone = volume.clone(original, this.name(), false)
        if (random.chance(0.5)) volume.writeDirect(clone, random.below(units), volume.freshValue())
      }
    }
    this.letTimePass(1000)
  }
}
