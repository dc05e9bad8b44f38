/**
 * On which NUMA node pages lie: where this thread's are taken from, and where those of a file in the page cache are, which can be moved.
 *
 * See set_mempolicy(2), sched_setaffinity(2), move_pages(2). The node of a page can be asked for through a mapping only.
 */
import { check, errnoOf, libc, type Pointer } from './native.ts'

/** By architecture: these are older than the numbers that all share. */
const NUMBERS: Record<string, { readonly set_mempolicy: number; readonly move_pages: number }> = {
  x64: { set_mempolicy: 238, move_pages: 279 },
  arm64: { set_mempolicy: 237, move_pages: 239 },
}
const SYS = NUMBERS[process.arch]

const setMempolicyCall = libc<[number, mode: number, mask: Pointer, bits: number]>('syscall', 'long', [
  'long',
  'long',
  'void*',
  'uint64',
])
const schedSetaffinityCall = libc<[pid: number, bytes: number, mask: Pointer]>('sched_setaffinity', 'int', [
  'int',
  'size_t',
  'void*',
])
const movePagesCall = libc<
  [number, pid: number, count: number, pages: Pointer, nodes: Pointer, status: Pointer, flags: number]
>('syscall', 'long', ['long', 'long', 'uint64', 'void*', 'void*', 'void*', 'long'])
const mmapCall = libc<
  [address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number]
>('mmap', 'long', ['void*', 'size_t', 'int', 'int', 'int', 'int64'])
const munmapCall = libc<[address: number, length: number]>('munmap', 'int', ['void*', 'size_t'])
const madviseCall = libc<[address: number, length: number, advice: number]>('madvise', 'int', [
  'void*',
  'size_t',
  'int',
])

const MPOL_PREFERRED = 1
const MPOL_MF_MOVE = 2
const MPOL_MF_MOVE_ALL = 4
const MADV_POPULATE_READ = 22
const PROT_READ = 1
const MAP_SHARED = 1
const PAGE_BYTES = 4096
const BITS = 64

/**
 * Memory that this thread takes from now on comes from `node`, and from others where that has none left. So it is for the threads and processes that it starts. Throws a
 * SystemError.
 */
export function preferMemoryOf(node: number): void {
  const mask = bitmap([node])
  check(setMempolicyCall(SYS?.set_mempolicy ?? -1, MPOL_PREFERRED, mask, mask.length * BITS + 1), 'set_mempolicy')
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
  const start = check(mmapCall(null, bytes, PROT_READ, MAP_SHARED, fd, offset), 'mmap')
  try {
    const addresses: bigint[] = []
    for (const [first, end] of runs(isWanted)) {
      check(madviseCall(start + first * PAGE_BYTES, (end - first) * PAGE_BYTES, MADV_POPULATE_READ), 'madvise')
      for (let page = first; page < end; page++) addresses.push(BigInt(start + page * PAGE_BYTES))
    }
    const before = nodesOf(addresses)
    const elsewhere = addresses.filter((_, i) => before[i]! >= 0 && before[i] !== node)
    const moved = elsewhere.length === 0 ? 0 : move(elsewhere, node)
    return { looked: before.filter((at) => at >= 0).length, elsewhere: elsewhere.length, moved }
  } finally {
    munmapCall(start, bytes)
  }
}

function nodesOf(addresses: readonly bigint[]): Int32Array {
  const nodes = new Int32Array(addresses.length)
  if (addresses.length > 0) movePages(addresses, null, nodes, 0)
  return nodes
}

/** How many of the pages lie on `node` afterwards. */
function move(addresses: readonly bigint[], node: number): number {
  const status = new Int32Array(addresses.length)
  const nodes = new Int32Array(addresses.length).fill(node)
  // Pages that others have mapped too need CAP_SYS_NICE; without it they stay where they are.
  const result = errnoOf(
    movePagesCall(SYS?.move_pages ?? -1, 0, addresses.length, words(addresses), nodes, status, MPOL_MF_MOVE_ALL),
  )
  if (result < 0) movePages(addresses, nodes, status, MPOL_MF_MOVE)
  return nodesOf(addresses).filter((at) => at === node).length
}

function movePages(addresses: readonly bigint[], nodes: Int32Array | null, status: Int32Array, flags: number): void {
  check(movePagesCall(SYS?.move_pages ?? -1, 0, addresses.length, words(addresses), nodes, status, flags), 'move_pages')
}

const words = (addresses: readonly bigint[]) => BigUint64Array.from(addresses)

/** [first, end) of what is not 0 side by side. */
function* runs(isWanted: Uint8Array): Generator<[first: number, end: number]> {
  for (let first = 0, end = 0; first < isWanted.length; first = end) {
    const isSet = isWanted[first] !== 0
    for (end = first + 1; end < isWanted.length && (isWanted[end] !== 0) === isSet; end++);
    if (isSet) yield [first, end]
  }
}

function bitmap(bits: readonly number[]): BigUint64Array {
  const mask = new BigUint64Array(Math.floor(Math.max(...bits) / BITS) + 1)
  for (const bit of bits) mask[Math.floor(bit / BITS)]! |= 1n << BigInt(bit % BITS)
  return mask
}
