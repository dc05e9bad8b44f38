/** Files for caches to read, and where the pages lie that they were read into. */
import fs from 'node:fs'
import type { CachedFile } from '../../../src/library/cached-file.ts'
import { nodesOfPages } from '../../support/nodes-of-pages.ts'
import { SETTLED_MS } from '../../support/settled.ts'

export const PAGE = 4096

/** The content of a page, which no other page has. */
export function pageContent(file: number, page: number): Buffer {
  const bytes = Buffer.alloc(PAGE, file + 1)
  bytes.writeUInt32LE(page + 1, 100)
  return bytes
}

/** Writes a file of `pages` pages, and waits until it is at rest; `file` tells its content from that of others. */
export function writeFile(path: string, file: number, pages: number): string {
  fs.writeFileSync(path, Buffer.concat(Array.from({ length: pages }, (_, page) => pageContent(file, page))))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLED_MS)
  return path
}

/** Reads `count` pages from `first` on, loading what is missing; throws where a byte is wrong. */
export function readPages(cached: CachedFile, file: number, first: number, count: number): void {
  const buffer = Buffer.alloc(PAGE)
  for (let page = first; page < first + count; page++) {
    cached.readSync(buffer, { position: page * PAGE })
    if (!buffer.equals(pageContent(file, page))) throw new Error(`page ${page} of file ${file} has wrong bytes`)
  }
}

/** The node on which each page lies that `cached` has in memory, as move_pages(2) tells. */
export function placement(cached: CachedFile, first: number, count: number): number[] {
  const nodes: number[] = []
  for (let page = first; page < first + count; page++) {
    using view = cached.viewSync(page * PAGE, PAGE)
    if (!view.isPinned) throw new Error(`page ${page} is not in memory`)
    nodes.push(nodesOfPages(view.parts)[0]!)
  }
  return nodes
}
