/** Clones of files, and what of a file the kernel has cached. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { cloneFile } from '../../../src/linux/clone.ts'
import { isDax } from '../../../src/linux/dax.ts'
import { residentPages } from '../../../src/linux/mincore.ts'
import { PAGE } from './cached.ts'

/** Makes `copy` a clone of `original`, on the disk; returns its path. */
export function clone(original: string, copy: string): string {
  const [from, to] = [fs.openSync(original, 'r'), fs.openSync(copy, 'w')]
  assert.equal(cloneFile(to, from), 0)
  fs.fsyncSync(to)
  fs.closeSync(from)
  fs.closeSync(to)
  return copy
}

/** As {@link clone}, of a file on persistent memory, which the copy has to be on, too. */
export function cloneOnDax(original: string, copy: string): string {
  clone(original, copy)
  assert.ok(withFd(copy, isDax), `${copy} is not on DAX`)
  return copy
}

/** Of the first `pages` pages of a file, those in the kernel's page cache. */
export function cachedPages(file: string, pages: number): number {
  return withFd(file, (fd) => residentPages(fd, 0, pages * PAGE, new Uint8Array(pages)))
}

function withFd<T>(file: string, call: (fd: number) => T): T {
  const fd = fs.openSync(file, 'r')
  try {
    return call(fd)
  } finally {
    fs.closeSync(fd)
  }
}
