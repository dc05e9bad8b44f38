/** Near memory, as the keeper's thread has it: frames on nodes, and replicas where they are wanted. There is none on a machine of one node. */
import { PAGE_BYTES } from '../cache/entry.ts'
import { FrameNodes } from '../cache/frame-nodes.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { NodeClocks } from '../cache/reclaim/node-clocks.ts'
import type { Ages, ReclaimPolicy } from '../cache/reclaim/policy.ts'
import { ReplicaPolicy } from '../cache/replica-policy.ts'
import type { Arena } from './arena.ts'
import type { Native, NumaSystem } from './native.ts'
import { type NumaMode, type NumaPlan, planNodes } from './numa.ts'

/** Of {@link PageCacheStats}. Nodes have the system's numbers. */
export interface NumaStats {
  /** Bytes of the arena that lie on each node: as the kernel says (/proc/self/numa_maps), which takes a moment. */
  readonly bytesByNode: Readonly<Record<number, number>>
  /** Nodes with memory that came after the cache was made, and are not used. */
  readonly nodesUnused: readonly number[]
  /** Bytes of replicas. */
  readonly replicaBytes: number
  /** Replicas made, since the cache was. */
  readonly replicasMade: number
  /** And of those, given up because their page was written, cut off or evicted. */
  readonly replicasCollapsed: number
}

/** The part that is known without asking the kernel. */
export type ReplicaStats = Pick<NumaStats, 'replicaBytes' | 'replicasMade' | 'replicasCollapsed'>

/** What another thread needs of it; can be sent. */
export interface NearHandle {
  readonly mode: NumaMode
  readonly plan: NumaPlan
  /** By node; empty where there are no replicas. */
  readonly replicaMappings: readonly number[]
}

/** Context: the keeper's thread. */
export class NearMemory {
  readonly plan: NumaPlan
  readonly mode: NumaMode
  readonly nodes: FrameNodes
  readonly #system: NumaSystem
  #pages!: PageKeeper
  #replicaMappings: readonly number[] = []
  #policy: ReplicaPolicy | undefined

  private constructor(mode: NumaMode, plan: NumaPlan, system: NumaSystem) {
    this.mode = mode
    this.plan = plan
    this.nodes = new FrameNodes(plan.table)
    this.#system = system
  }

  /** For a cache of `frames`; undefined where it is not wanted, or there is but one node. */
  static create(mode: NumaMode, frames: number, native: Native | undefined): NearMemory | undefined {
    const plan = planNodes(mode, frames, native?.numa)
    return plan && new NearMemory(mode, plan, native!.numa)
  }

  clocks(ages: Ages, clock: (frames: number, ages: Ages) => ReclaimPolicy): ReclaimPolicy {
    return new NodeClocks(this.nodes, ages, clock)
  }

  get mappingsPerFile(): number {
    return this.mode === 'inode' ? this.nodes.count : 1
  }

  start(pages: PageKeeper, arena: Arena): void {
    this.#pages = pages
    if (this.mode === 'inode') pages.mapByNode()
    if (this.mode !== 'replicate') return
    this.#replicaMappings = pages.allowReplicas((from, to) => arena.bytes(to).set(arena.bytes(from)))
    this.#policy = new ReplicaPolicy(pages)
  }

  get handle(): NearHandle {
    return { mode: this.mode, plan: this.plan, replicaMappings: this.#replicaMappings }
  }

  /** A reader on `node` has sampled its hits: see hit-samples.ts. */
  sampled(node: number, samples: Int32Array): void {
    this.#policy?.take(node, samples)
  }

  stats(arena: Arena): NumaStats {
    const { numbers } = this.plan
    const online = this.#system.readNodes().filter(({ bytes }) => bytes > 0)
    return {
      ...this.replicaStats(),
      bytesByNode: Object.fromEntries(arena.bytesByNode()),
      nodesUnused: online.map(({ number }) => number).filter((number) => !numbers.includes(number)),
    }
  }

  replicaStats(): ReplicaStats {
    const replicas = this.#pages.replicas?.counts
    return {
      replicaBytes: (replicas?.replicas ?? 0) * PAGE_BYTES,
      replicasMade: replicas?.made ?? 0,
      replicasCollapsed: replicas?.collapsed ?? 0,
    }
  }
}
