/** What the keeper does: loads, writes, forgets, shares, shrinks, one thing after the other, with readers in between its accesses to memory. */
import { EntryKind, PAGE_BYTES } from '../../cache/entry.ts'
import { NO_FRAME } from '../../cache/frames.ts'
import { entryKind, entryValue } from '../../layout/entry-word.ts'
import { PAGES_MAX } from '../../layout/mapping-record.ts'
import { FileLayout } from '../../library/layout.ts'
import { FILE_BYTES, type SimFile, type SimHome, valueAt } from './files.ts'
import type { Executor } from './machine.ts'
import type { ReaderThread } from './reader-thread.ts'
import { byteOf, SIMULATED_BYTES } from './truth.ts'
import type { World } from './world.ts'

/** No operation needs more. */
const ACCESSES_MAX = 20_000

type Operation =
  | 'answer'
  | 'loadSome'
  | 'goOn'
  | 'write'
  | 'forget'
  | 'churn'
  | 'renew'
  | 'serveByHomes'
  | 'retire'
  | 'readItself'
  | 'resize'
  | 'bury'
  | 'replicate'
  | 'promote'
  | 'grants'
  | 'scan'
  | 'mergeNow'

/** How often each is done, relative to the others. */
const OPERATIONS: readonly Operation[] = (
  [
    ['answer', 16],
    ['loadSome', 6],
    ['goOn', 12],
    ['write', 3],
    ['forget', 3],
    ['churn', 5],
    ['renew', 1],
    ['serveByHomes', 4],
    ['retire', 1],
    ['readItself', 8],
    ['resize', 1],
    ['bury', 2],
    ['replicate', 12],
    ['promote', 12],
    ['grants', 12],
    ['scan', 3],
    ['mergeNow', 3],
  ] as const
).flatMap(([operation, times]) => new Array<Operation>(times).fill(operation))

/** A load under way. */
interface Load {
  readonly frame: number
  /** The value of the page at that offset as it is read: now, not when the load began. */
  readonly value: (offset: number) => number
  readonly done: () => void
  bytesLoaded: number
  isZero: boolean
}

export class SimKeeper implements Executor {
  readonly #world: World
  readonly #loads: Load[] = []
  readonly #leaveWriting = new Map<SimFile, () => void>()
  readonly #openBy = new Map<ReaderThread, SimFile[]>()
  /** Nobody is let in between: for looks at the structures from outside. */
  #isAlone = false
  /** Of the operation under way. */
  #accesses = 0

  constructor(world: World) {
    this.#world = world
  }

  // ---- accesses to memory

  load(address: number): number {
    if (this.#isAlone) return this.#world.keeperProcessor.peek(address)
    this.#interleave()
    return this.#world.keeperProcessor.load(address)
  }

  loadAtomic(address: number): number {
    if (this.#isAlone) return this.#world.keeperProcessor.peek(address)
    this.#interleave()
    return this.#world.keeperProcessor.loadAtomic(address)
  }

  store(address: number, value: number): void {
    this.#interleave()
    this.#world.keeperProcessor.store(address, value)
  }

  storeAtomic(address: number, value: number): void {
    this.#interleave()
    this.#world.keeperProcessor.storeAtomic(address, value)
  }

  change(address: number, to: (before: number) => number): number {
    this.#interleave()
    return this.#world.keeperProcessor.change(address, to)
  }

  #interleave(): void {
    if (++this.#accesses > ACCESSES_MAX) throw new Error('the keeper goes round in circles')
    this.#world.interleave()
  }

  // ---- what it does

  /** One thing, at random. */
  step(): void {
    const { random, keeperProcessor } = this.#world
    keeperProcessor.synchronize()
    this.#accesses = 0
    this.#world.grants.pass()
    this[random.pick(OPERATIONS)]()
    // What is broken stays broken: not each time, which would take most of the time of a run.
    if (random.chance(0.1)) this.check()
  }

  check(): void {
    this.#isAlone = true
    this.#world.pages.checkInvariants()
    this.#world.grants.check()
    this.#world.merged?.checkInvariants()
    this.#checkDomains()
    this.#isAlone = false
  }

  answer(): void {
    const { random, requests, keeperProcessor } = this.#world
    if (requests.length === 0) return
    const [request] = requests.splice(random.below(requests.length), 1)
    const { file, kind, page, thread, node } = request!
    if (kind === 'open' && !this.#open(file, thread)) {
      requests.push(request!)
      return
    }
    if (kind === 'close') this.#close(file, thread)
    const answer = () => {
      // A message: whoever gets it sees what was done before.
      keeperProcessor.flush()
      request!.answer = { ...file.layout, node: request!.node }
    }
    if (kind !== 'load') answer()
    else
      this.#world.grants.enter(file, page, (leave) => {
        this.#loadInside(file, page, node, leave)
        answer()
      })
  }

  /** Somebody who wants pages alone does something. */
  grants(): void {
    if (this.#world.hasGrants) this.#world.grants.act()
  }

  loadSome(): void {
    const { random, files } = this.#world
    const open = files.filter(({ mapping }) => mapping >= 0)
    if (open.length === 0) return
    const file = random.pick(open)
    this.#loadOf(file, random.pick(file.pages))
  }

  /** Goes on with a load: some more bytes, or its end. */
  goOn(): void {
    const { random } = this.#world
    if (this.#loads.length === 0) return
    const at = random.below(this.#loads.length)
    const load = this.#loads[at]!
    if (random.chance(0.05)) this.#end(load, false)
    else if (this.#read(load, random.between(1, SIMULATED_BYTES.length))) this.#end(load, true)
  }

  write(): void {
    const { random, files, pages, merged } = this.#world
    const file = random.pick(files)
    if (file.writing === undefined) {
      if (file.mapping < 0) return
      const page = random.pick(file.pages)
      const leave = this.#world.grants.tryEnter(file, page, true)
      if (leave === undefined) return
      this.#leaveWriting.set(file, leave)
      if (random.chance(0.2)) merged?.wrote(file.mapping, page, page + 1)
      file.writing = { page, value: this.#world.freshValue() }
      file.own?.add(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
      pages.drop(file.mapping, page, page + 1)
      if (random.chance(0.5)) return
    }
    this.#endWrite(file)
  }

  #endWrite(file: SimFile): void {
    // The system call: all that was done before is seen by then.
    this.#world.keeperProcessor.flush()
    const { page, value } = file.writing!
    file.clones.delete(page)
    this.#world.truth.change(file.name, page, value)
    this.#world.disk.writePage(file, page, value)
    file.writing = undefined
    this.#leaveWriting.get(file)!()
  }

  forget(): void {
    const { random, files, pages } = this.#world
    const file = random.pick(files)
    if (file.mapping < 0) return
    if (file.users === 0 && file.writing === undefined && random.chance(0.5)) {
      this.#release(file)
      pages.deleteMapping(file.mapping)
      file.mapping = -1
      return
    }
    const from = random.pick([0, random.pick(file.pages)])
    pages.drop(file.mapping, from, random.pick([from + 1, PAGES_MAX]))
  }

  /** The nodes that one file gives up are another's at once. */
  churn(): void {
    const { random, files, pages } = this.#world
    const open = files.filter(({ mapping }) => mapping >= 0)
    if (open.length === 0) return
    pages.drop(random.pick(open).mapping, 0, PAGES_MAX)
    const file = random.pick(open)
    for (const page of file.pages) if (random.chance(0.7)) this.#loadOf(file, page)
  }

  /** The file has been changed by somebody else: some of its pages are clones of homes' now. */
  renew(): void {
    const { random, truth, files, pages, keeperProcessor } = this.#world
    const file = random.pick(files)
    if (file.mapping < 0 || file.writing !== undefined || !this.#world.grants.isQuiet(file)) return
    pages.drop(file.mapping, 0, PAGES_MAX)
    this.#release(file)
    file.serveAlone(pages.mappings.changeLayout(file.mapping))
    keeperProcessor.flush()
    for (const page of file.pages) {
      if (random.chance(0.7)) file.clones.set(page, this.#world.anyPlace())
      else if (!file.clones.delete(page)) continue
      truth.change(file.name, page, valueAt(file.clones.get(page)) ?? this.#world.freshValue())
      this.#world.disk.writePage(file, page, truth.value(file.name, page))
    }
    // What it has left may go at once.
    if (random.chance(0.5)) this.retire()
  }

  serveByHomes(): void {
    this.#serveByHomes(this.#world.random.pick(this.#world.files))
  }

  /** A home that no file needs loses its mapping. */
  retire(): void {
    const { random, homes, pages } = this.#world
    const home = random.pick(homes)
    if (home.mapping < 0 || home.users > 0) return
    pages.deleteMapping(home.mapping)
    home.mapping = -1
    this.#world.direct?.close(home)
  }

  /** Reads a file on its own thread, which makes short cuts. */
  readItself(): void {
    const { random, files, ownReader, truth } = this.#world
    const file = random.pick(files)
    if (file.mapping < 0) return
    if (random.chance(0.5)) this.#serveByHomes(file)
    const node = this.#world.anyNode()
    const layout = new FileLayout({ ...file.layout, node })
    for (const page of file.pages) {
      if (random.chance(0.5)) this.#loadOf(file, page, node)
      const bytes = new Uint8Array(2)
      const begin = truth.now
      if (ownReader.copy(layout, page * PAGE_BYTES, bytes, 0, 2) !== 2) continue
      truth.check(file.name, page, 0, bytes, begin, truth.now)
      this.#world.grants.checkFound(file, page, begin)
    }
  }

  resize(): void {
    const { random, pages, cache } = this.#world
    pages.resize(random.between(2, cache.sizes.frames + 1) * PAGE_BYTES)
  }

  /** Some node gets a replica of a page, or some replica goes. */
  replicate(): void {
    const { random, files, homes, pages, nodes } = this.#world
    if (random.chance(0.2)) {
      pages.replicas?.drop(() => random.chance(0.5))
      return
    }
    const places = [
      ...files.flatMap(({ mapping, pages }) => pages.map((page) => ({ mapping, page }))),
      ...homes.flatMap(({ mapping, values }) => [...values.keys()].map((page) => ({ mapping, page }))),
    ].filter(({ mapping }) => mapping >= 0)
    for (const { mapping, page } of places)
      if (random.chance(0.5)) pages.replicate(mapping, page, random.below(nodes.count))
  }

  /** Some page is copied from the device, or some copy goes. */
  promote(): void {
    this.#world.direct?.act()
  }

  /** A dead thread's part is taken over by another. */
  bury(): void {
    const { random, threads, pages } = this.#world
    const number = random.below(threads.length)
    const thread = threads[number]
    if (thread?.isRunning) return
    if (thread !== undefined) {
      threads[number] = undefined
      if (!thread.isDead) this.#checkLetGo(number)
      pages.pinned.detach(number)
      for (const file of this.#openBy.get(thread) ?? []) file.users--
      this.#openBy.delete(thread)
    }
    if (!this.#world.isEnding) this.#world.startReader(number)
  }

  /** Equal pages are looked for: among some frames, */
  scan(): void {
    const { random, merged, cache } = this.#world
    this.#merging(() => merged?.scan(random.between(1, cache.sizes.frames)))
  }

  /** and for one page. */
  mergeNow(): void {
    const { random, merged, files } = this.#world
    const file = random.pick(files)
    if (file.mapping >= 0) this.#merging(() => merged?.mergePage(file.mapping, random.pick(file.pages)))
  }

  #merging(body: () => void): void {
    const { merged, counts } = this.#world
    const before = merged?.counts.sharing ?? 0
    body()
    counts.merged += Math.max(0, (merged?.counts.sharing ?? 0) - before)
  }

  /** No page of one domain is found in a frame of another. */
  #checkDomains(): void {
    const { files, homes, pages } = this.#world
    const domains = new Map<number, number>()
    const sources = new Map([...files, ...homes].map((source) => [source.mapping, source]))
    pages.each((mapping, _page, word, generation) => {
      const frame = entryValue(word)
      const source = sources.get(mapping)
      if (entryKind(word) !== EntryKind.SHARED || pages.frames.generation(frame) !== generation) return
      if (!pages.isMerged(frame) || source === undefined) return
      const domain = domains.get(frame) ?? source.domain
      if (domain !== source.domain) throw new Error(`frame ${frame} is merged across domains`)
      domains.set(frame, domain)
    })
  }

  /** What is under way goes on, and nothing new begins. */
  endSomething(): void {
    this.#accesses = 0
    this.goOn()
    for (const file of this.#world.files) if (file.writing !== undefined) this.#endWrite(file)
    this.#world.grants.goOn()
  }

  /** All loads come to an end, and all grants. */
  finish(): void {
    this.#endLoads()
    this.#world.grants.finish()
    // Of readers that have died while they waited.
    this.#endLoads()
  }

  #endLoads(): void {
    for (const load of [...this.#loads]) this.#end(load, false)
  }

  /** A thread that has closed all its views holds nothing. */
  #checkLetGo(number: number): void {
    const { cache, memory, pins } = this.#world
    const { pinsPerThread } = cache.sizes
    for (let slot = 1; slot < pinsPerThread; slot++)
      if (memory.get(pins.base + number * pinsPerThread + slot) !== 0)
        throw new Error(`slot ${slot} of reader ${number} is in use, and nobody looks at its frame`)
  }

  #open(file: SimFile, thread: ReaderThread): boolean {
    const { pages } = this.#world
    if (file.mapping < 0) {
      file.mapping = pages.mappings.create(file.domain)
      if (file.mapping < 0) return false
      file.serveAlone(pages.mappings.changeLayout(file.mapping))
      pages.mappings.setSize(file.mapping, FILE_BYTES)
    }
    file.users++
    this.#openBy.set(thread, [...(this.#openBy.get(thread) ?? []), file])
    return true
  }

  #close(file: SimFile, thread: ReaderThread): void {
    const files = this.#openBy.get(thread)!
    files.splice(files.indexOf(file), 1)
    file.users--
  }

  #serveByHomes(file: SimFile): void {
    const { pages } = this.#world
    if (file.mapping < 0 || file.isServedByHomes || file.clones.size === 0 || file.writing !== undefined) return
    const homes = [...new Set([...file.clones.values()].map(({ home }) => home))]
    for (const home of homes) {
      if (home.mapping < 0) {
        home.mapping = pages.mappings.create(home.domain)
        if (home.mapping < 0) return
        this.#world.direct?.open(home)
      }
      pages.mappings.setSize(home.mapping, FILE_BYTES)
    }
    for (const home of homes) home.users++
    const version = pages.mappings.changeLayout(file.mapping)
    file.serveByHomes(version, (buffer) => this.#world.simulateBuffer(buffer))
  }

  #release(file: SimFile): void {
    for (const home of file.homes) home.users--
    file.homes = []
  }

  /** Begins to load a page of the file from where it lies, if nobody has. */
  #loadOf(file: SimFile, page: number, node = this.#world.anyNode()): void {
    const leave = this.#world.grants.tryEnter(file, page, false)
    if (leave !== undefined) this.#loadInside(file, page, node, leave)
  }

  /** The same, when no grant is in the way. */
  #loadInside(file: SimFile, page: number, node: number, leave: () => void): void {
    const { disk } = this.#world
    if (file.writing?.page === page) {
      leave()
      return
    }
    const place = file.isServedByHomes && !file.own!.has(page) ? file.clones.get(page) : undefined
    if (place === undefined) this.#begin(file, page, node, (offset) => disk.valueOf(file, page, offset), leave)
    else if (this.#world.direct?.mint(place, node)) leave()
    else this.#begin(place.home, place.page, node, () => valueAt(place)!, leave)
  }

  #begin(source: SimFile | SimHome, page: number, node: number, value: Load['value'], leave: () => void): void {
    const { pages, random } = this.#world
    const mapping = pages.mappings.on(source.mapping, node)
    const isNeeded = !pages.isCached(mapping, page) && !pages.isLoading(mapping, page)
    const frame = isNeeded ? pages.reserve(mapping, page) : NO_FRAME
    if (frame === NO_FRAME) {
      leave()
      return
    }
    const { used, inLimbo, limit } = pages.frames
    if (used + inLimbo > limit) throw new Error(`${used} frames and ${inLimbo} in limbo are more than ${limit}`)
    if (this.#loads.some((load) => load.frame === frame)) throw new Error(`frame ${frame} is given out twice`)
    source.users++
    const done = () => {
      source.users--
      leave()
    }
    const load = { frame, value, done, bytesLoaded: 0, isZero: true }
    this.#loads.push(load)
    if (random.chance(0.5) && this.#read(load, SIMULATED_BYTES.length)) this.#end(load, true)
  }

  /** Reads some bytes more; true: that was all. */
  #read(load: Load, count: number): boolean {
    for (let i = 0; i < count && load.bytesLoaded < SIMULATED_BYTES.length; i++) {
      const offset = SIMULATED_BYTES[load.bytesLoaded]!
      const byte = byteOf(load.value(offset), offset)
      if (byte !== 0) load.isZero = false
      this.#world.fill(load.frame, load.bytesLoaded++, byte)
    }
    return load.bytesLoaded === SIMULATED_BYTES.length
  }

  #end(load: Load, isComplete: boolean): void {
    const { pages, merged, random, counts } = this.#world
    this.#loads.splice(this.#loads.indexOf(load), 1)
    if (!isComplete) pages.abandon(load.frame)
    else if (!load.isZero)
      this.#merging(() => (random.chance(0.8) ? (merged ?? pages) : pages).publish(load.frame, random.chance(0.8)))
    else if (pages.publishZero(load.frame)) counts.zeros++
    load.done()
  }
}
