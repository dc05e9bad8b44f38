/** What a seed makes: memory, the cache in it, files and homes, and the threads that read. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { FrameNodes, type NodeTable } from '../../cache/frame-nodes.ts'
import { Lookup } from '../../cache/lookup.ts'
import { allocateMemory, type CacheMemory } from '../../cache/memory.ts'
import { MergedPages, type PageBytes } from '../../cache/merge/merged-pages.ts'
import { PageKeeper } from '../../cache/page-keeper.ts'
import { Pins } from '../../cache/pins.ts'
import type { Shortcuts } from '../../cache/shared-entries.ts'
import { FRAME, FRAME_RECORD_BYTES, frameAt } from '../../layout/frame-record.ts'
import { MAPPING_RECORD_BYTES } from '../../layout/mapping-record.ts'
import { NODE_BYTES } from '../../layout/node.ts'
import type { Arena } from '../../library/arena.ts'
import { DirectReader } from '../../library/direct-reader.ts'
import type { LayoutHandle } from '../../library/layout.ts'
import { PageReader } from '../../library/page-reader.ts'
import { Windows } from '../../library/windows.ts'
import { Random } from '../random.ts'
import { Disk, HALVES } from './disk.ts'
import { PAGES, type Place, SimFile, type SimHome, valueAt } from './files.ts'
import type { Machine } from './machine.ts'
import { life, VIEWS_MAX } from './reader-program.ts'
import { ReaderThread } from './reader-thread.ts'
import { SimDirect } from './sim-direct.ts'
import { SimGrants } from './sim-grants.ts'
import { NODES_RANK, type Order, Processor, type Region, SimMemory } from './sim-memory.ts'
import { SimPolicy } from './sim-policy.ts'
import { SIMULATED_BYTES, Truth } from './truth.ts'

/** What a reader asks the keeper for, and, once it is there, the answer. */
export interface Request {
  readonly kind: 'open' | 'load' | 'close'
  readonly thread: ReaderThread
  readonly file: SimFile
  readonly page: number
  /** For which the file is open. */
  readonly node: number
  answer?: LayoutHandle
}

export interface Counts {
  hits: number
  misses: number
  views: number
  deaths: number
  shared: number
  zeros: number
  grants: number
  refusals: number
  publishes: number
  /** Reads past the cache. */
  past: number
  merged: number
  /** Looks at a replica's bytes. */
  nearLooks: number
}

/** Three files of three pages. */
const DISK_PAGES_MAX = 9
/** And one word that counts them. */
const PINS_PER_THREAD = VIEWS_MAX + 1
/** The last generation of a frame without a page: the second from there is 0. */
const GENERATION_LAST = 2 ** 30 - 2

export class World {
  readonly random: Random
  readonly truth = new Truth()
  readonly machine: Machine
  readonly memory: SimMemory
  readonly keeperProcessor: Processor
  readonly cache: CacheMemory
  readonly pages: PageKeeper
  /** Undefined: nothing is merged. */
  readonly merged: MergedPages | undefined
  readonly files: SimFile[] = []
  readonly homes: SimHome[] = []
  readonly requests: Request[] = []
  /** Threads by number; undefined: it is dead, and the keeper knows. */
  readonly threads: (ReaderThread | undefined)[]
  /** Frames that readers have views of. */
  readonly viewed = new Map<number, ReaderThread[]>()
  readonly counts: Counts = {
    hits: 0,
    misses: 0,
    views: 0,
    deaths: 0,
    shared: 0,
    zeros: 0,
    grants: 0,
    refusals: 0,
    publishes: 0,
    past: 0,
    merged: 0,
    nearLooks: 0,
  }
  readonly description: string
  readonly frameBytes: Region
  readonly pins: Region
  /** Reads on the keeper's own thread. */
  readonly ownReader: PageReader
  readonly disk: Disk
  /** Whether there is anybody who wants pages alone. */
  readonly hasGrants: boolean
  readonly grants: SimGrants
  /** Undefined: no home lies on one. */
  readonly direct: SimDirect | undefined
  /** NUMA nodes. */
  readonly nodes: FrameNodes
  /** Each node has mappings of its own. */
  readonly isByNode: boolean
  /** By node. */
  readonly replicaMappings: readonly number[]
  /** All are to come to an end. */
  isEnding = false
  /** How often a page that is written becomes one of zeros. */
  readonly zeros: number
  /** How often a page gets bytes that others have, or nearly. */
  readonly #equality: number
  /** Files and homes are of so many. */
  readonly #domains: number
  /** How often a page of a new file is a home's. */
  readonly #cloning: number
  readonly #order: Order
  readonly #staleness: number
  /** Probability that a reader has a turn before an access of the keeper, and how many accesses it may do then. */
  readonly #pace: number
  readonly #turnMax: number
  readonly #deadliness: number
  readonly #arena: Arena
  readonly #records: Region

  /** To be made, and used, while the machine runs. */
  constructor(seed: number, machine: Machine) {
    const random = new Random(seed)
    this.machine = machine
    this.random = random
    this.#order = random.pick(['x86', 'arm'])
    this.#staleness = random.pick([0.1, 0.4])
    this.#pace = random.pick([0.02, 0.1, 0.4])
    this.#turnMax = random.pick([1, 4, 20])
    this.#deadliness = random.pick([0, 0, 0.003])
    const isMerging = random.chance(0.6)
    this.zeros = random.pick(isMerging ? [0.05, 0.3] : [0.1, 0.6])
    this.#cloning = random.pick([0.2, 0.9])
    this.#equality = isMerging ? random.pick([0.5, 0.9]) : 0
    this.#domains = random.pick([1, 2])
    const frames = random.between(3, 7)
    const nodes = random.between(14, 30)
    const nodeCount = random.pick([1, 2, 2, 3])
    // One is that of merged pages.
    const mappings = (random.between(5, 7) + (isMerging ? 1 : 0)) * nodeCount
    this.nodes = new FrameNodes(nodesOf(random, nodeCount, frames))
    const threads = random.between(1, 3)
    this.memory = new SimMemory(this.#order)
    this.keeperProcessor = new Processor(this.memory, random, this.#staleness)
    const sizes = { frames, nodes, mappings, threads, pinsPerThread: PINS_PER_THREAD }
    this.cache = allocateMemory(sizes)
    this.#simulate(this.cache.mappings, MAPPING_RECORD_BYTES, 0, () => true)
    this.#simulate(this.cache.nodes, NODE_BYTES, NODES_RANK, (index) => index % 2 === 0)
    const records = this.#simulate(this.cache.frames, FRAME_RECORD_BYTES, 2)
    this.#records = records
    this.frameBytes = this.memory.add(frames * SIMULATED_BYTES.length, 2, 3)
    this.pins = this.#simulate(this.cache.pins, 4, -1)
    this.#simulate(this.cache.counters, 4, -1)
    if (random.chance(0.3))
      for (let frame = 0; frame < frames; frame++)
        this.memory.commit(records.base + frame * 4, GENERATION_LAST - 2 * random.below(3))
    this.pages = new PageKeeper(
      this.cache,
      () => new SimPolicy(random),
      frames * PAGE_BYTES + random.below(nodes) * NODE_BYTES,
      (given) => this.#giveBack(given),
      this.nodes,
    )
    this.isByNode = nodeCount > 1 && random.chance(0.3)
    if (this.isByNode) this.pages.mapByNode()
    this.replicaMappings =
      nodeCount > 1 && !this.isByNode ? this.pages.allowReplicas((from, to) => this.#copy(from, to)) : []
    this.direct = random.chance(0.5) ? new SimDirect(this) : undefined
    this.merged = isMerging ? new MergedPages(this.pages, this.#pageBytes(), random.below(1000)) : undefined
    this.#arena = {
      bytes: (frame: number) => this.#bytesOf(frame),
      byteAt: (frame: number, at: number) => this.#bytesOf(frame)[at],
    } as unknown as Arena
    this.ownReader = this.#makeReader({
      found: (mapping: number, _map: unknown, page: number, frame: number, generation: number) => {
        this.counts.shared++
        this.pages.share(mapping, page, frame, generation)
      },
    } as unknown as Shortcuts)
    this.threads = new Array(threads)
    const diskWords = new SharedArrayBuffer(DISK_PAGES_MAX * HALVES.length * 4)
    const region = this.#simulate(diskWords, 4, -1)
    this.disk = new Disk(this.memory, new Int32Array(diskWords), region.base)
    this.#makeFiles()
    this.hasGrants = random.chance(0.5)
    this.grants = new SimGrants(this)
    this.description = `${this.#order}, ${frames} frames on ${nodeCount} nodes, ${nodes} nodes, ${mappings} mappings, ${threads} readers, ${isMerging ? 'merging' : 'not merging'}, ${this.direct ? 'with' : 'without'} a device, turns of ${this.#turnMax} at ${this.#pace}`
  }

  /** A new thread reads. */
  startReader(number: number): void {
    const processor = new Processor(this.memory, this.random, this.#staleness)
    const thread = new ReaderThread(number, this.machine, processor, this.random)
    this.pages.pinned.attach(number)
    this.keeperProcessor.flush()
    thread.start(life(this, thread, this.#makeReader(), new Pins(this.cache, number)))
    this.threads[number] = thread
  }

  /** Whoever reads may go on, or die, before the next thing that the keeper does. */
  interleave(): void {
    this.truth.now++
    this.keeperProcessor.drain()
    if (this.random.chance(this.#pace)) this.stepReader()
  }

  /** One of the readers goes on, if it is awake. Returns for how many accesses. */
  stepReader(): number {
    const { random } = this
    const accesses = random.between(1, this.#turnMax)
    const thread = this.threads[random.below(this.threads.length)]
    const isAwake = thread?.isRunning === true && (this.isEnding || thread.sleepsUntil <= this.truth.now)
    if (!isAwake) return accesses
    thread.run(accesses)
    if (random.chance(this.#deadliness)) this.#kill(thread)
    else if (random.chance(thread.isInIndex ? 0.5 : 0.03))
      thread.sleepsUntil = this.truth.now + random.below(random.pick([20, 100, 400]))
    return accesses
  }

  /** What no page holds yet, or zeros. */
  freshValue(): number {
    if (this.random.chance(this.zeros)) return 0
    return this.random.chance(this.#equality) ? this.truth.usedValue(this.random) : this.truth.freshValue()
  }

  /** Somewhere in a home. */
  anyPlace(): Place {
    const home = this.random.pick(this.homes)
    return { home, page: this.random.pick([...home.values.keys()]) }
  }

  simulateBuffer(buffer: SharedArrayBuffer): void {
    this.#simulate(buffer, 4, -1)
  }

  /** A byte of a frame is written. */
  fill(frame: number, at: number, byte: number): void {
    if ((this.viewed.get(frame) ?? []).length > 0)
      throw new Error(`frame ${frame} is filled while somebody looks at it`)
    this.machine.executor.store(this.frameBytes.base + frame * SIMULATED_BYTES.length + at, byte)
  }

  /** A node for who opens a file. */
  anyNode(): number {
    return this.isByNode ? this.random.below(this.nodes.count) : 0
  }

  /** The system takes the memory of frames: who reads it reads zeros. */
  #giveBack(frames: readonly number[]): void {
    // The world is being made.
    if (this.truth.now === 0) return
    for (const frame of frames) for (let at = 0; at < SIMULATED_BYTES.length; at++) this.fill(frame, at, 0)
  }

  #copy(from: number, to: number): void {
    const base = this.frameBytes.base + from * SIMULATED_BYTES.length
    for (let at = 0; at < SIMULATED_BYTES.length; at++) this.fill(to, at, this.machine.executor.load(base + at))
  }

  #simulate(buffer: SharedArrayBuffer, recordBytes: number, rank: number, leads?: Region['leads']): Region {
    const region = this.memory.add(buffer.byteLength / 4, Math.log2(recordBytes / 4), rank, leads)
    this.machine.simulate(buffer, region)
    return region
  }

  #bytesOf(frame: number): Uint8Array {
    const owner = this.memory.get(this.#records.base + frameAt(frame) + FRAME.MAPPING)
    if (this.replicaMappings.includes(owner)) this.counts.nearLooks++
    const base = this.frameBytes.base + frame * SIMULATED_BYTES.length
    return this.machine.array(PAGE_BYTES, (offset) => base + SIMULATED_BYTES.indexOf(offset as 0))
  }

  /** For merging: by a hash that many pages have in common. */
  #pageBytes(): PageBytes {
    return {
      hash: (frame) => this.#bytesOf(frame)[0]! & 2,
      isEqual: (a, b) => SIMULATED_BYTES.every((at) => this.#bytesOf(a)[at] === this.#bytesOf(b)[at]),
    }
  }

  #makeReader(shortcuts?: Shortcuts): PageReader {
    const lookup = new Lookup(this.cache, this.#order === 'arm')
    this.moveReader(lookup)
    const device = this.direct?.device
    const direct = device && new DirectReader(lookup, new Windows((window) => device.view(window)), () => {})
    return new PageReader(lookup, this.#arena, shortcuts, direct)
  }

  /** The thread goes on on another node, or this one. */
  moveReader(lookup: Lookup): void {
    lookup.replicas = this.replicaMappings.length > 0 ? this.random.pick(this.replicaMappings) : -1
  }

  #kill(thread: ReaderThread): void {
    thread.kill()
    this.counts.deaths++
    this.requests.splice(0, this.requests.length, ...this.requests.filter((request) => request.thread !== thread))
    for (const [frame, threads] of this.viewed)
      this.viewed.set(
        frame,
        threads.filter((it) => it !== thread),
      )
  }

  #makeFiles(): void {
    const { random, truth } = this
    const homes = random.between(1, 2)
    for (let number = 0; number < homes; number++) {
      const values = new Map<number, number>()
      for (const page of random.chance(0.5) ? [0, 64] : [1, 2]) values.set(page, this.freshValue())
      this.homes.push({ number, values, domain: random.below(this.#domains), mapping: -1, window: undefined, users: 0 })
    }
    const files = random.between(1, 3)
    const choice = random.pick(PAGES)
    for (let i = 0; i < files; i++) {
      const pages = [...new Set(Array.from({ length: random.between(1, 3) }, () => random.pick(choice)))]
      const file = new SimFile(`file-${i}`, pages, random.below(this.#domains))
      for (const page of pages) {
        if (random.chance(this.#cloning)) file.clones.set(page, this.anyPlace())
        truth.change(file.name, page, valueAt(file.clones.get(page)) ?? this.freshValue())
        this.disk.add(file, page)
        this.disk.writePage(file, page, truth.value(file.name, page))
      }
      this.files.push(file)
    }
  }
}

/** Frames in as many parts, none of them empty. */
function nodesOf(random: Random, count: number, frames: number): NodeTable {
  const parts = new Array<number>(count).fill(1)
  for (let left = frames - count; left > 0; left--) parts[random.below(count)]!++
  return { frames: parts, distances: parts.map((_, from) => parts.map((_, to) => (from === to ? 10 : 20))) }
}
