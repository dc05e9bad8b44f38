/** The mount's NUMA node (`--node`): where the serving process runs and takes its memory from. */
import { allowedCpus, readCpuNodes, readNodes } from '../../linux/numa.ts'
import { preferMemoryOf, runOnCpus } from '../../linux/page-placement.ts'
import { UserError } from '../../util/user-error.ts'

/** Throws a {@link UserError} where the machine has no such node, or none with memory that this process may have. */
export function checkNode(number: number): void {
  const nodes = readNodes()
  const node = nodes.find((node) => node.number === number)
  const withMemory = nodes.filter(({ bytes }) => bytes > 0).map((node) => node.number)
  if (node === undefined)
    throw new UserError(
      `there is no NUMA node ${number} on this machine: those with memory are ${withMemory.join(', ')}`,
    )
  if (node.bytes === 0)
    throw new UserError(
      `NUMA node ${number} has no memory that may be used from here (see cpuset(7)): those that have some are ${withMemory.join(', ')}`,
    )
}

/**
 * This thread, and all processes that it starts from now on, run on those of the node's CPUs that they may run on (on any, where there are none) and take their memory from it as
 * long as it has some. So do pages of files that they read. Throws a {@link UserError} where the system forbids it.
 */
export function bindToNode(number: number): void {
  const nodeOfCpu = readCpuNodes()
  const cpus = allowedCpus().filter((cpu) => nodeOfCpu[cpu] === number)
  try {
    if (cpus.length > 0) runOnCpus(cpus)
    preferMemoryOf(number)
  } catch (error) {
    throw new UserError(
      `NUMA node ${number} cannot be bound to (${error instanceof Error ? error.message : String(error)}): a container or a service may forbid that`,
    )
  }
}
