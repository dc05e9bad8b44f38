/** The system calls that deal with NUMA nodes, for which the C library has no functions. What they return is what C returns. */
import { libc, type Pointer } from './native.ts'

/** By architecture: these are older than the numbers that all share. */
const NUMBERS: Record<string, { readonly mbind: number; readonly set_mempolicy: number; readonly move_pages: number }> =
  {
    x64: { mbind: 237, set_mempolicy: 238, move_pages: 279 },
    arm64: { mbind: 235, set_mempolicy: 237, move_pages: 239 },
  }
const SYS = NUMBERS[process.arch] ?? { mbind: -1, set_mempolicy: -1, move_pages: -1 }

const mbindCall = libc<[number, number | bigint, number, number, Pointer, number, number]>('syscall', 'long', [
  'long',
  'uint64',
  'uint64',
  'long',
  'void*',
  'uint64',
  'long',
])
const setMempolicyCall = libc<[number, mode: number, mask: Pointer, bits: number]>('syscall', 'long', [
  'long',
  'long',
  'void*',
  'uint64',
])
const movePagesCall = libc<
  [number, pid: number, count: number, pages: Pointer, nodes: Pointer, status: Pointer, flags: number]
>('syscall', 'long', ['long', 'long', 'uint64', 'void*', 'void*', 'void*', 'long'])

const BITS = 64

/** A bit for each number: a set of nodes, or of CPUs. */
export function bitmap(numbers: readonly number[]): BigUint64Array {
  const mask = new BigUint64Array(Math.floor(Math.max(...numbers) / BITS) + 1)
  for (const number of numbers) mask[Math.floor(number / BITS)]! |= 1n << BigInt(number % BITS)
  return mask
}

/** The kernel reads one bit less than it is told. */
const bitsOf = (mask: BigUint64Array) => mask.length * BITS + 1

export function mbind(address: number | bigint, length: number, mode: number, node: number): number {
  const mask = bitmap([node])
  return mbindCall(SYS.mbind, address, length, mode, mask, bitsOf(mask), 0)
}

/** Of this thread. */
export function setMempolicy(mode: number, node: number): number {
  const mask = bitmap([node])
  return setMempolicyCall(SYS.set_mempolicy, mode, mask, bitsOf(mask))
}

/** Of this process: moves pages to `nodes`, or with null only asks; `status` gets the node of each, or -errno. */
export function movePages(addresses: BigUint64Array, nodes: Int32Array | null, status: Int32Array, flags = 0): number {
  return movePagesCall(SYS.move_pages, 0, addresses.length, addresses, nodes, status, flags)
}
