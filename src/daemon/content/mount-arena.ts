/**
 * The arena behind a mount: frames, what leads to them, and who says which of them are given up. What it holds is the business of others: pages of files that are held for their content
 * (content-cache.ts), and copies of pages that lie on devices (../dax/direct-homes.ts).
 *
 * Context: the keeper's thread.
 */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { allocateMemory, type CacheMemory } from '../../cache/memory.ts'
import { PageKeeper } from '../../cache/page-keeper.ts'
import type { Ages } from '../../cache/reclaim/policy.ts'
import { ReuseClock } from '../../cache/reclaim/reuse-clock.ts'
import { Arena, type ArenaHandle } from '../../library/arena.ts'
import { linuxNative } from '../../library/linux-native.ts'
import { MemoryLimit } from '../../library/memory-limit.ts'
import { type NearHandle, NearMemory, type NumaStats, type ReplicaStats } from '../../library/near-memory.ts'
import type { NumaMode } from '../../library/numa.ts'
import { watchPressure } from '../../library/pressure.ts'
import { OpenNodes } from '../near/open-nodes.ts'
import { type ArenaOptions, MEMORY_MIN } from './arena-options.ts'

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

const MAPPINGS_MAX = 16_384

export class MountArena {
  readonly shared: ArenaMemory
  readonly pages: PageKeeper
  readonly arena: Arena
  /** Undefined where files have no mapping of each node's. */
  readonly opened: OpenNodes | undefined
  readonly #near: NearMemory | undefined
  readonly #stopWatching: () => void
  readonly #limit: MemoryLimit

  /** Throws what the system says where there is no memory. */
  constructor({ memoryBytes, numa = 'off' }: ArenaOptions) {
    const frames = Math.ceil(memoryBytes / PAGE_BYTES)
    const near = NearMemory.create(numa, frames, linuxNative)
    const memory = allocateMemory({
      frames,
      // One leaf for each page, and what leads to them: untouched nodes take no memory.
      nodes: frames + Math.ceil(frames / 16) + 256,
      mappings: MAPPINGS_MAX * (near?.mappingsPerFile ?? 1),
      // Nobody pins a frame: replies are copies.
      threads: 1,
      pinsPerThread: 1,
    })
    const arena = Arena.create(frames, linuxNative, near?.plan)
    const clock = (frames: number, ages: Ages) => new ReuseClock(frames, ages)
    const policy = (ages: Ages) => near?.clocks(ages, clock) ?? clock(frames, ages)
    const giveBack = (unused: readonly number[]) => arena.giveBack(unused)
    const pages = new PageKeeper(memory, policy, memoryBytes - arena.slackBytes, giveBack, near?.nodes)
    near?.start(pages, arena)
    const opened = near?.mode === 'inode' ? { opened: OpenNodes.allocate() } : {}
    this.shared = { memory, arena: arena.handle, ...(near && { near: { handle: near.handle, ...opened } }) }
    this.pages = pages
    this.arena = arena
    this.opened = this.shared.near?.opened && new OpenNodes(this.shared.near.opened)
    this.#near = near
    this.#limit = new MemoryLimit(arena, pages, memoryBytes, MEMORY_MIN)
    this.#stopWatching = watchPressure((share) => this.#limit.yieldTo(share))
  }

  /** A worker on `node` has sampled its hits: see cache/hit-samples.ts. */
  sampled(node: number, samples: Int32Array): void {
    this.#near?.sampled(node, samples)
  }

  /** Undefined without `--numa`, and on a machine of one node. Asks the kernel, which takes a moment. */
  numaStatistics(): (NumaStats & { readonly mode: NumaMode }) | undefined {
    return this.#near && { mode: this.#near.mode, ...this.#near.stats(this.arena) }
  }

  /** The part of it for which nobody need ask the kernel. */
  replicaStatistics(): ReplicaStats | undefined {
    return this.#near?.replicaStats()
  }

  /** Bytes that pages and what leads to them may take now. */
  get memoryMax(): number {
    return this.#limit.bytes
  }

  /** Gives all memory back. Nobody may be reading, or loading. */
  close(): void {
    this.#stopWatching()
    this.pages.end()
    this.arena.destroy()
  }
}
