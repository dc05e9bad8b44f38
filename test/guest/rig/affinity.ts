/** On which node a thread of a test runs. Nodes 0 to 2 have one CPU each, of the same number. */
import { runOnCpus } from '../../../src/linux/page-placement.ts'

/** Moves this thread to the CPU of `node`; it stays there. */
export function runOn(node: number): void {
  runOnCpus([node])
}

/** This thread, and what it starts, runs on any CPU again. */
export function runAnywhere(): void {
  runOnCpus([0, 1, 2])
}
