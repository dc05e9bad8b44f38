/** Reading from the arena on a machine of several NUMA nodes: finds what is near, tells now and then what it has found, and counts what it had from afar. */
import { FrameNodes } from '../../cache/frame-nodes.ts'
import { HitSampler } from '../../cache/hit-samples.ts'
import { ContentReader } from './content-reader.ts'
import type { ArenaMemory, ArenaNearness } from './mount-arena.ts'

export class NearContentReader extends ContentReader {
  /** Each node has pages of its own. */
  readonly isByNode: boolean
  readonly #replicaMappings: readonly number[]
  readonly #nodes: FrameNodes
  /** By node; none where there are no replicas. */
  readonly #samplers: readonly HitSampler[]
  #here = 0
  #of = 0
  #bytesFar = 0

  /** `send` is given samples of hits on a node. */
  constructor(content: ArenaMemory, near: ArenaNearness, send: (node: number, samples: Int32Array) => void) {
    super(content)
    const { mode, plan, replicaMappings } = near.handle
    this.isByNode = mode === 'inode'
    this.#replicaMappings = replicaMappings
    this.#nodes = new FrameNodes(plan.table)
    this.#samplers = replicaMappings.map((_, node) => new HitSampler((samples) => send(node, samples)))
  }

  /** From now on it reads on node `here`; `of`: whose pages, where each node has its own. */
  at(here: number, of: number): void {
    this.#here = here
    this.#of = of
    this.lookup.replicas = this.#replicaMappings[here] ?? -1
  }

  /** Bytes copied from frames of other nodes since this was asked last. */
  takeBytesFar(): number {
    const bytes = this.#bytesFar
    this.#bytesFar = 0
    return bytes
  }

  override mappingOf(mapping: number): number {
    return this.isByNode ? mapping + this.#of : mapping
  }

  protected override copied(first: number, frames: number, count: number): void {
    // Frames side by side are of one node, but for those at a node's end.
    if (this.#nodes.nodeOf(first) !== this.#here) this.#bytesFar += count
    const sampler = this.#samplers[this.#here]
    if (sampler !== undefined) for (let i = 0; i < frames; i++) sampler.found(first + i, this.generations[i]!)
  }
}
