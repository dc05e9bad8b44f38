/**
 * The arena behind a mount: frames, what leads to them, and who says which of them are given up. What it holds is the business of others: pages of files that are held for their content
 * (content-cache.ts), and copies of pages that lie on devices (../dax/direct-homes.ts).
 *
 * Context: the keeper's thread.
 */
import type { CacheMemory } from '../../cache/memory.ts'
import type { PageKeeper } from '../../cache/page-keeper.ts'
import type { Arena, ArenaHandle } from '../../library/arena.ts'
import { linuxNative } from '../../library/linux-native.ts'
import type { NearHandle, NumaStats, ReplicaStats } from '../../library/near-memory.ts'
import type { NumaMode } from '../../library/numa.ts'
import { PageMemory } from '../../library/page-memory.ts'
import { type PressureWatch, watchPressure } from '../../library/pressure.ts'
import { OpenNodes } from '../near/open-nodes.ts'
import type { ArenaOptions } from './arena-options.ts'

/** What a thread needs to read from the arena; travels to workers. */
export interface ArenaMemory {
  readonly memory: CacheMemory
  readonly arena: ArenaHandle
  /** Absent where memory is not near anybody in particular. */
  readonly near?: ArenaNearness
}

/** With `--numa`, on a machine of several nodes. */
export interface ArenaNearness {
  readonly handle: NearHandle
  /** What {@link OpenNodes} takes; absent where files have no mapping of each node's. */
  readonly opened?: SharedArrayBuffer
}

export class MountArena {
  readonly shared: ArenaMemory
  readonly pages: PageKeeper
  readonly arena: Arena
  /** Undefined where files have no mapping of each node's. */
  readonly opened: OpenNodes | undefined
  readonly #memory: PageMemory
  readonly #pressure: PressureWatch

  /** Throws as {@link PageMemory} does. */
  constructor({ memoryBytes, numa = 'off' }: ArenaOptions) {
    // Nobody pins a frame: replies are copies.
    const options = { numa, threads: 1, pinsPerThread: 1, hugeRecords: false }
    const memory = new PageMemory(memoryBytes, options, linuxNative)
    const { shared, arena, pages, near, limit } = memory
    const opened = near?.mode === 'inode' ? { opened: OpenNodes.allocate() } : {}
    this.shared = { memory: shared, arena: arena.handle, ...(near && { near: { handle: near.handle, ...opened } }) }
    this.pages = pages
    this.arena = arena
    this.opened = this.shared.near?.opened && new OpenNodes(this.shared.near.opened)
    this.#memory = memory
    this.#pressure = watchPressure((share) => limit.yieldTo(share))
  }

  /** See {@link PressureWatch.cached}. */
  cached(bytes: number, hasGrown: boolean): void {
    this.#pressure.cached(bytes, hasGrown)
  }

  /** A worker on `node` has sampled its hits: see cache/hit-samples.ts. */
  sampled(node: number, samples: Int32Array): void {
    this.#memory.near?.sampled(node, samples)
  }

  /** Undefined without `--numa`, and on a machine of one node. Asks the kernel, which takes a moment. */
  numaStatistics(): (NumaStats & { readonly mode: NumaMode }) | undefined {
    const { near } = this.#memory
    return near && { mode: near.mode, ...near.stats(this.arena) }
  }

  /** The part of it for which nobody need ask the kernel. */
  replicaStatistics(): ReplicaStats | undefined {
    return this.#memory.near?.replicaStats()
  }

  /** Bytes that pages and what leads to them may take now. */
  get memoryMax(): number {
    return this.#memory.limit.bytes
  }

  /** Gives all memory back. Nobody may be reading, or loading. */
  close(): void {
    this.#pressure.stop()
    this.pages.end()
    this.arena.destroy()
  }
}
