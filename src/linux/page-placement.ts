/**
 * On which NUMA node pages lie: where this thread's are taken from, and where those of a file in the page cache are, which can be moved.
 *
 * See set_mempolicy(2), sched_setaffinity(2), move_pages(2). The node of a page can be asked for through a mapping only.
 */

import { PAGE_BYTES } from '../util/page.ts'
import { mapFile, PROT, unmapFile } from './mapping.ts'
import { check, libc, type Pointer } from './native.ts'
import { bitmap, movePages, setMempolicy } from './numa-calls.ts'

const schedSetaffinityCall = libc<[pid: number, bytes: number, mask: Pointer]>('sched_setaffinity', 'int', [
  'int',
  'size_t',
  'void*',
])
const madviseCall = libc<[address: number, length: number, advice: number]>('madvise', 'int', [
  'void*',
  'size_t',
  'int',
])

const MPOL_PREFERRED = 1
const MPOL_MF_MOVE = 2
const MPOL_MF_MOVE_ALL = 4
const MADV_POPULATE_READ = 22

/**
 * Memory that this thread takes from now on comes from `node`, and from others where that has none left. So it is for the threads and processes that it starts. Throws a
 * SystemError.
 */
export function preferMemoryOf(node: number): void {
  check(setMempolicy(MPOL_PREFERRED, node), 'set_mempolicy')
}

/** This thread, and what it starts from now on, runs on these CPUs alone. Throws a SystemError. */
export function runOnCpus(cpus: readonly number[]): void {
  const mask = bitmap(cpus)
  check(schedSetaffinityCall(0, mask.byteLength, mask), 'sched_setaffinity')
}

/** What was found of pages, and done about it. */
export interface Placement {
  /** Pages that were asked for and are in memory. */
  readonly looked: number
  /** Of them, those that lay on another node. */
  readonly elsewhere: number
  /** Of those, the ones that do not any more. */
  readonly moved: number
}

/**
 * Looks where pages of a file lie, and moves those to `node` that lie elsewhere. Which: `isWanted` has a byte for each page from `offset` (in bytes, a multiple of 4096) on, 0 where it is
 * to be let alone. Those that are not in the page cache are read; they are then taken from where this thread takes its memory. Throws a SystemError: EINVAL before Linux 5.14.
 *
 * Any thread; blocks while it reads, and holds the process's address space lock for short times.
 */
export function placePages(fd: number, offset: number, isWanted: Uint8Array, node: number): Placement {
  const bytes = isWanted.length * PAGE_BYTES
  const start = check(mapFile(fd, offset, bytes, PROT.READ), 'mmap')
  try {
    const pages: bigint[] = []
    for (const [first, end] of runs(isWanted)) {
      check(madviseCall(start + first * PAGE_BYTES, (end - first) * PAGE_BYTES, MADV_POPULATE_READ), 'madvise')
      for (let page = first; page < end; page++) pages.push(BigInt(start + page * PAGE_BYTES))
    }
    const addresses = BigUint64Array.from(pages)
    const before = nodesOf(addresses)
    const elsewhere = addresses.filter((_, i) => before[i]! >= 0 && before[i] !== node)
    const moved = elsewhere.length === 0 ? 0 : move(elsewhere, node)
    return { looked: before.filter((at) => at >= 0).length, elsewhere: elsewhere.length, moved }
  } finally {
    unmapFile(start, bytes)
  }
}

function nodesOf(addresses: BigUint64Array): Int32Array {
  const nodes = new Int32Array(addresses.length)
  if (addresses.length > 0) check(movePages(addresses, null, nodes), 'move_pages')
  return nodes
}

/** How many of the pages lie on `node` afterwards. */
function move(addresses: BigUint64Array, node: number): number {
  const status = new Int32Array(addresses.length)
  const nodes = new Int32Array(addresses.length).fill(node)
  // Pages that others have mapped too need CAP_SYS_NICE; without it they stay where they are.
  if (movePages(addresses, nodes, status, MPOL_MF_MOVE_ALL) < 0)
    check(movePages(addresses, nodes, status, MPOL_MF_MOVE), 'move_pages')
  return nodesOf(addresses).filter((at) => at === node).length
}

/** [first, end) of what is not 0 side by side. */
function* runs(isWanted: Uint8Array): Generator<[first: number, end: number]> {
  for (let first = 0, end = 0; first < isWanted.length; first = end) {
    const isSet = isWanted[first] !== 0
    for (end = first + 1; end < isWanted.length && (isWanted[end] !== 0) === isSet; end++);
    if (isSet) yield [first, end]
  }
}
