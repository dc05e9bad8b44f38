/** On which node a thread of a test runs. Nodes 0 to 2 have one CPU each, of the same number. */
import { check, libc, type Pointer } from '../../../src/linux/native.ts'

const schedSetaffinity = libc<[pid: number, bytes: number, mask: Pointer]>('sched_setaffinity', 'int', [
  'int',
  'size_t',
  'void*',
])

/** Moves this thread to the CPU of `node`; it stays there. */
export function runOn(node: number): void {
  check(schedSetaffinity(0, 8, new BigUint64Array([1n << BigInt(node)])), 'sched_setaffinity')
}
