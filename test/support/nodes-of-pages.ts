/** Where pages of this process's memory lie, as move_pages(2) tells. */
import koffi from 'koffi'
import { check } from '../../src/linux/native.ts'
import { movePages } from '../../src/linux/numa-calls.ts'

const PAGE_BYTES = 4096n

/** For each page of memory (4096 bytes; any part of it stands for it) the node that it lies on, or -errno: -ENOENT where it was not touched yet. */
export function nodesOfPages(pages: readonly Uint8Array[]): Int32Array {
  const addresses = BigUint64Array.from(pages, (page) => {
    const address = BigInt(koffi.address(page))
    return address - (address % PAGE_BYTES)
  })
  const nodes = new Int32Array(pages.length)
  check(movePages(addresses, null, nodes), 'move_pages')
  return nodes
}
