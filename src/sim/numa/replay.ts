/**
 * Replays a trace of accesses from several nodes on the cache's own keeper, index, policies and look-ups, counts what happened, and prices it.
 *
 * What is counted is what the code does; what is priced comes from machines.ts. Each node has one thread, in the prices' sense; the keeper's work is node 0's.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { FrameNodes } from '../../cache/frame-nodes.ts'
import { NO_FRAME } from '../../cache/frames.ts'
import { HitSampler } from '../../cache/hit-samples.ts'
import { FOUND, Lookup } from '../../cache/lookup.ts'
import { allocateMemory } from '../../cache/memory.ts'
import { PageKeeper } from '../../cache/page-keeper.ts'
import { NodeClocks } from '../../cache/reclaim/node-clocks.ts'
import { ReuseClock } from '../../cache/reclaim/reuse-clock.ts'
import { ReplicaPolicy } from '../../cache/replica-policy.ts'
import type { ReplicaCounts } from '../../cache/replicas.ts'
import type { Prices } from './machines.ts'
import type { Access } from './traces.ts'

/** `eager`: a replica at each read from afar, for comparison. */
export type Way = 'off' | 'replicate' | 'eager' | 'inode'

const DISTANCES = [
  [10, 21],
  [21, 10],
]
const NODE_INDEX_BYTES = 512
const NO_REPLICAS = { made: 0, collapsed: 0, dropped: 0 }

/** What happened, over all nodes. */
interface Counts {
  readonly reads: number
  /** Of pages that lay on another node. */
  readonly remote: number
  readonly misses: number
  readonly writes: number
  readonly made: number
  readonly collapsed: number
  readonly dropped: number
  /** Frames in use, at most. */
  readonly frames: number
}

/** Of each node what its thread did. */
interface Work {
  accesses: number
  local: number
  remote: number
  misses: number
  writes: number
}

export class Replay {
  readonly #way: Way
  readonly #keeper: PageKeeper
  readonly #nodes: FrameNodes
  readonly #lookups: readonly Lookup[]
  readonly #samplers: readonly HitSampler[]
  readonly #work: readonly Work[]
  readonly #mapping: number
  #framesMax = 0
  #before = NO_REPLICAS

  /** `frames`: of the cache, half of them on each node. */
  constructor(way: Way, frames: number) {
    this.#way = way
    const half = Math.floor(frames / 2)
    const table = { frames: [half, half], distances: DISTANCES }
    const nodes = new FrameNodes(table)
    const memory = allocateMemory({
      frames: 2 * half,
      nodes: 4 * half + 256,
      mappings: 16,
      threads: 1,
      pinsPerThread: 2,
    })
    const bytes = 2 * half * PAGE_BYTES + (4 * half + 256) * NODE_INDEX_BYTES
    this.#nodes = nodes
    this.#keeper = new PageKeeper(
      memory,
      (ages) => new NodeClocks(nodes, ages, (count, ages) => new ReuseClock(count, ages)),
      bytes,
      undefined,
      nodes,
    )
    if (way === 'inode') this.#keeper.mapByNode()
    const mappings = way === 'replicate' || way === 'eager' ? this.#keeper.allowReplicas(() => {}) : []
    const policy = way === 'replicate' ? new ReplicaPolicy(this.#keeper) : undefined
    this.#mapping = this.#keeper.mappings.create()
    this.#lookups = table.frames.map((_, node) => {
      const lookup = new Lookup(memory, false)
      lookup.replicas = mappings[node] ?? -1
      return lookup
    })
    this.#samplers = table.frames.map((_, node) => new HitSampler((samples) => policy?.take(node, samples)))
    this.#work = table.frames.map(() => ({ accesses: 0, local: 0, remote: 0, misses: 0, writes: 0 }))
  }

  /** Forgets what was counted: what follows is measured with a cache that is warm. */
  startMeasuring(): void {
    for (const work of this.#work) work.accesses = work.local = work.remote = work.misses = work.writes = 0
    this.#before = { ...this.#replicaCounts }
  }

  run(trace: Iterable<Access>): void {
    for (const { node, page, isWrite } of trace) {
      this.#work[node]!.accesses++
      if (isWrite) this.#write(node, page)
      else this.#read(node, page)
      this.#framesMax = Math.max(this.#framesMax, this.#keeper.frames.used)
    }
    this.#keeper.checkInvariants()
  }

  get counts(): Counts {
    const sum = (key: keyof Work) => this.#work.reduce((total, work) => total + work[key], 0)
    const [now, before] = [this.#replicaCounts, this.#before]
    const [made, collapsed, dropped] = [
      now.made - before.made,
      now.collapsed - before.collapsed,
      now.dropped - before.dropped,
    ]
    const [remote, misses, writes] = [sum('remote'), sum('misses'), sum('writes')]
    return { reads: sum('local') + remote, remote, misses, writes, made, collapsed, dropped, frames: this.#framesMax }
  }

  /** Accesses a second, of all nodes together. */
  throughput(prices: Prices): number {
    const { made, collapsed, dropped } = this.counts
    const keeping = made * prices.make + (collapsed + dropped) * prices.lose
    return this.#work.reduce((sum, { accesses, local, remote, misses, writes }, node) => {
      const own = local * prices.local + remote * prices.remote + misses * prices.miss + writes * prices.write
      return sum + accesses / ((own + (node === 0 ? keeping : 0)) / 1e9)
    }, 0)
  }

  get #replicaCounts(): Pick<ReplicaCounts, 'made' | 'collapsed' | 'dropped'> {
    return this.#keeper.replicas?.counts ?? NO_REPLICAS
  }

  #read(node: number, page: number): void {
    const work = this.#work[node]!
    const lookup = this.#lookups[node]!
    const mapping = this.#keeper.mappings.on(this.#mapping, node)
    let frame = lookup.find(mapping, page)
    if (frame === FOUND.NOTHING) {
      work.misses++
      frame = this.#load(mapping, page, node)
      if (frame === NO_FRAME) return
    } else this.#samplers[node]!.found(frame, lookup.generation)
    const isLocal = this.#nodes.nodeOf(frame) === node
    if (isLocal) work.local++
    else {
      work.remote++
      if (this.#way === 'eager') this.#keeper.replicate(mapping, page, node)
    }
  }

  #write(node: number, page: number): void {
    this.#work[node]!.writes++
    this.#keeper.drop(this.#mapping, page, page + 1)
    this.#load(this.#keeper.mappings.on(this.#mapping, node), page, node)
  }

  #load(mapping: number, page: number, node: number): number {
    const frame = this.#keeper.reserve(mapping, page, node)
    if (frame !== NO_FRAME) this.#keeper.publish(frame, true)
    return frame
  }
}
