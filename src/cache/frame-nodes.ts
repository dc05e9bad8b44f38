/**
 * Which frames lie on which NUMA node: to each node belong consecutive numbers, so a frame's number tells its node and the frame's record need not.
 *
 * Nodes are those that have memory, numbered from 0 on without gaps; which of the system's they are the cache does not know. A cache that knows of no nodes
 * has one.
 */

/** Can be sent to other threads. */
export interface NodeTable {
  /** By node. */
  readonly frames: readonly number[]
  /** From node to node, in the machine's unit: 10 is a node to itself. */
  readonly distances: readonly (readonly number[])[]
}

export function oneNode(frames: number): NodeTable {
  return { frames: [frames], distances: [[10]] }
}

export class FrameNodes {
  readonly count: number
  readonly table: NodeTable
  /** By node, the first frame behind its own. */
  readonly #ends: readonly number[]
  readonly #nearest: readonly (readonly number[])[]

  constructor(table: NodeTable) {
    this.table = table
    this.count = table.frames.length
    let end = 0
    this.#ends = table.frames.map((frames) => (end += frames))
    this.#nearest = table.distances.map((distances) =>
      [...distances.keys()].sort((a, b) => distances[a]! - distances[b]! || a - b),
    )
  }

  nodeOf(frame: number): number {
    let node = 0
    while (frame >= this.#ends[node]!) node++
    return node
  }

  first(node: number): number {
    return this.#ends[node]! - this.table.frames[node]!
  }

  frames(node: number): number {
    return this.table.frames[node]!
  }

  distance(from: number, to: number): number {
    return this.table.distances[from]![to]!
  }

  /** All nodes, the nearest to `node` first: that is itself, where the machine's table makes sense. */
  nearest(node: number): readonly number[] {
    return this.#nearest[node]!
  }
}
