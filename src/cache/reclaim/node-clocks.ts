/**
 * A reclaim policy for frames of several NUMA nodes: each node has one of its own, so that who needs a frame on a node gets one there.
 *
 * A node's pages give way to those that are wanted on the same node, as long as the node has its share or nearly so; else those of the node that is furthest above its
 * share. What a page's shadow tells is in the time of the node that it was on: a page that comes back on another one is new there.
 *
 * ```
 *   stamp    bits 27 … 24  node          bits 23 … 0  the stamp of that node's policy
 * ```
 */
import type { FrameNodes } from '../frame-nodes.ts'
import { type Ages, NEVER, type ReclaimPolicy, STAMP_BITS, STAMP_NODE_BITS } from './policy.ts'

/** More nodes have no room in a stamp. */
export const NODES_MAX = 2 ** STAMP_NODE_BITS
/** Of its share: so much a node may lack because several of its pages went at once. */
const SLACK = 1 / 8
const STAMP_MASK = 2 ** STAMP_BITS - 1

export class NodeClocks implements ReclaimPolicy {
  readonly #nodes: FrameNodes
  readonly #policies: readonly ReclaimPolicy[]
  /** By node: frames that it is to have. */
  readonly #shares: number[]
  /** How many frames of a node hold what is not the policy's. They are the node's all the same. */
  #spareOn: (node: number) => number = () => 0

  constructor(nodes: FrameNodes, ages: Ages, policy: (frames: number, ages: Ages) => ReclaimPolicy) {
    this.#nodes = nodes
    this.#shares = [...nodes.table.frames]
    this.#policies = nodes.table.frames.map((frames, node) => {
      const first = nodes.first(node)
      return policy(frames, {
        get: (frame) => ages.get(first + frame),
        set: (frame, age) => ages.set(first + frame, age),
      })
    })
  }

  get size(): number {
    return this.#policies.reduce((sum, { size }) => sum + size, 0)
  }

  insert(frame: number, stamp: number): void {
    const node = this.#nodes.nodeOf(frame)
    const isOfNode = stamp !== NEVER && stamp >>> STAMP_BITS === node
    this.#policies[node]!.insert(frame - this.#nodes.first(node), isOfNode ? stamp & STAMP_MASK : NEVER)
  }

  insertCold(frame: number): void {
    const node = this.#nodes.nodeOf(frame)
    this.#policies[node]!.insertCold(frame - this.#nodes.first(node))
  }

  remove(frame: number): void {
    const node = this.#nodes.nodeOf(frame)
    this.#policies[node]!.remove(frame - this.#nodes.first(node))
  }

  countSpare(on: (node: number) => number): void {
    this.#spareOn = on
  }

  victim(mayEvict: (frame: number) => boolean, near = 0, isOnly = false): number {
    const above = (node: number) => this.#policies[node]!.size + this.#spareOn(node) - this.#shares[node]!
    const order = isOnly ? [near] : [...this.#policies.keys()].sort((a, b) => above(b) - above(a))
    if (!isOnly && above(near) >= -SLACK * this.#shares[near]!) order.unshift(near)
    for (const node of order) {
      const first = this.#nodes.first(node)
      const frame = this.#policies[node]!.victim((frame) => mayEvict(first + frame))
      if (frame >= 0) return first + frame
    }
    return -1
  }

  stampOf(frame: number): number {
    const node = this.#nodes.nodeOf(frame)
    return (node << STAMP_BITS) | this.#policies[node]!.stampOf(frame - this.#nodes.first(node))
  }

  isWorthKeeping(stamp: number): boolean {
    return this.#policies[stamp >>> STAMP_BITS]!.isWorthKeeping(stamp & STAMP_MASK)
  }

  resize(frames: number): void {
    const capacity = this.#nodes.table.frames.reduce((sum, count) => sum + count)
    for (const [node, policy] of this.#policies.entries()) {
      const share = Math.max(1, Math.floor((frames / capacity) * this.#nodes.frames(node)))
      this.#shares[node] = share
      policy.resize(share)
    }
  }

  checkInvariants(): void {
    for (const policy of this.#policies) policy.checkInvariants()
  }
}
