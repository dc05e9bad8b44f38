/**
 * Near memory: which of the machine's NUMA nodes a cache's frames lie on, and on which a thread runs.
 *
 * The cache numbers nodes that have memory from 0 on. A node of the system that has none, or came after the cache was made, stands for the nearest of those.
 */
import type { NodeTable } from '../cache/frame-nodes.ts'
import { NODES_MAX } from '../cache/reclaim/node-clocks.ts'
import { outOfRange } from './arguments.ts'
import type { NumaSystem } from './native.ts'

/** What a cache does about nodes; see docs/LIBRARY.md. */
export type NumaMode = 'off' | 'replicate' | 'inode'

/** Can be sent to other threads. */
export interface NumaPlan {
  readonly table: NodeTable
  /** By node of the cache: the system's number. */
  readonly numbers: readonly number[]
  /** By number of the system's: the cache's node that is there, or nearest. */
  readonly nodeOfNumber: readonly number[]
}

/** Where `frames` frames are to lie: on each node its share of the machine's memory. Undefined where there is but one node, or nobody wants to know. */
export function planNodes(mode: NumaMode, frames: number, system: NumaSystem | undefined): NumaPlan | undefined {
  if (!['off', 'replicate', 'inode'].includes(mode))
    throw outOfRange(`numa: '${mode}' is none of 'off', 'replicate' and 'inode'`)
  if (mode === 'off' || system === undefined) return undefined
  const online = system.readNodes()
  const nodes = online.filter(({ bytes }) => bytes > 0)
  if (nodes.length < 2) return undefined
  if (nodes.length > NODES_MAX) throw outOfRange(`numa: this machine has ${nodes.length} nodes, more than ${NODES_MAX}`)
  if (frames < nodes.length) throw outOfRange(`numa: ${frames} pages are too few for ${nodes.length} nodes`)
  const distances = nodes.map((from) => nodes.map((to) => from.distances.get(to.number)!))
  const nodeOfNumber: number[] = []
  for (const { number, distances } of online) {
    const far = nodes.map((node) => distances.get(node.number)!)
    nodeOfNumber[number] = far.indexOf(Math.min(...far))
  }
  return {
    table: { frames: shares(nodes, frames), distances },
    numbers: nodes.map(({ number }) => number),
    nodeOfNumber,
  }
}

/** Tells this thread on which of the cache's nodes it runs now. */
export function nearOf(plan: NumaPlan | undefined, system: NumaSystem | undefined): () => number {
  if (plan === undefined || system === undefined) return () => 0
  const nodeOfCpu = nodesOfCpus(plan, system)
  return () => nodeOfCpu[system.currentCpu()] ?? 0
}

/** By number of the CPU: the cache's node that it is on, or nearest to. */
export function nodesOfCpus(plan: NumaPlan, system: Pick<NumaSystem, 'readCpuNodes'>): number[] {
  return system.readCpuNodes().map((number) => plan.nodeOfNumber[number] ?? 0)
}

/** `frames` in the proportions of the nodes' memory, each at least one. */
function shares(nodes: readonly { readonly bytes: number }[], frames: number): number[] {
  const total = nodes.reduce((sum, { bytes }) => sum + bytes, 0)
  const shares = nodes.map(({ bytes }) => Math.max(1, Math.floor((frames / total) * bytes)))
  const rest = frames - shares.reduce((sum, share) => sum + share)
  shares[shares.indexOf(Math.max(...shares))]! += rest
  return shares
}
