/** The mount's NUMA node (`--node`): where the serving process runs and takes its memory from. */
import { readCpuNodes, readNodes } from '../../linux/numa.ts'
import { preferMemoryOf, runOnCpus } from '../../linux/page-placement.ts'
import { UserError } from '../mounting.ts'

/** Throws a {@link UserError} where the machine has no such node, or none with memory. */
export function checkNode(number: number): void {
  const nodes = readNodes()
  const node = nodes.find((node) => node.number === number)
  const withMemory = nodes.filter(({ bytes }) => bytes > 0).map((node) => node.number)
  if (node === undefined)
    throw new UserError(
      `there is no NUMA node ${number} on this machine: those with memory are ${withMemory.join(', ')}`,
    )
  if (node.bytes === 0)
    throw new UserError(`NUMA node ${number} has no memory: those that have some are ${withMemory.join(', ')}`)
}

/**
 * This thread, and all processes that it starts from now on, run on the node's CPUs (anywhere, where it has none) and take their memory from it as long as it has some. So do
 * pages of files that they read.
 */
export function bindToNode(number: number): void {
  const cpus = readCpuNodes().flatMap((node, cpu) => (node === number ? [cpu] : []))
  if (cpus.length > 0) runOnCpus(cpus)
  preferMemoryOf(number)
}
