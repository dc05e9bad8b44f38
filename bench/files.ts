/** Files that several sections read. */
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Cleanup } from '../src/demo/cleanup.ts'
import { FileSet } from '../src/demo/file-set.ts'
import { cloneFile } from '../src/linux/clone.ts'
import { SystemError } from '../src/linux/errors.ts'
import { shuffled } from './clients/support.ts'

const PAGE_BYTES = 4096

/** An image, pristine clones (odd numbers) and diverged ones (even numbers) with 1% of their pages rewritten. */
export async function writeClones(directory: string, size: number, clones: number, cleanup: Cleanup): Promise<FileSet> {
  const set = new FileSet({ size, clones, rewritten: 0.01, seed: 1 })
  await set.write(directory, cleanup, async () => {})
  return set
}

/** A file that shares nothing. */
export async function writePrivate(directory: string, size: number, cleanup: Cleanup): Promise<string> {
  const scratch = fs.mkdtempSync(path.join(directory, 'private-'))
  await new FileSet({ size, clones: 0, rewritten: 0, seed: 2 }).write(scratch, cleanup, async () => {})
  return path.relative(directory, path.join(scratch, 'image'))
}

/** Pages of one content, in files of {@link writeDuplicates}. */
const COPIES = 8

/** A file of which half of the pages are equal to seven others, wherever they lie, and the rest to none. Returns how many pages merging can save. */
export function writeDuplicates(file: string, size: number): number {
  const pages = size / PAGE_BYTES
  const contents = Uint32Array.from({ length: pages }, (_, page) =>
    page < pages / 2 ? Math.floor(page / COPIES) : page,
  )
  const order = shuffled(pages)
  const pool = crypto.randomBytes(1 << 20)
  const fd = fs.openSync(file, 'w')
  const block = Buffer.alloc(1 << 20)
  for (let first = 0; first < pages; first += block.length / PAGE_BYTES) {
    for (let at = 0; at < block.length; at += PAGE_BYTES) {
      const content = contents[order[first + at / PAGE_BYTES]!]!
      pool.copy(block, at, (content * PAGE_BYTES) % pool.length, ((content * PAGE_BYTES) % pool.length) + PAGE_BYTES)
      // Not zeros, and different at once: who compares need not go far.
      block.writeUInt32LE(content + 1, at)
    }
    fs.writeSync(fd, block)
  }
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  return (pages / 2 / COPIES) * (COPIES - 1)
}

/** `count` files f0, f1, … of `size` bytes each in a new directory `name`. */
export function writeMany(directory: string, name: string, count: number, size: number): void {
  const target = path.join(directory, name)
  fs.mkdirSync(target, { recursive: true })
  const bytes = Buffer.alloc(size, name)
  for (let i = 0; i < count; i++) fs.writeFileSync(path.join(target, `f${i}`), bytes)
}

/** `count` clones of `image`: f0, f1, … in a new directory `name`; of each, `rewrittenPages` pages are rewritten. */
export function cloneMany(directory: string, name: string, image: string, count: number, rewrittenPages: number): void {
  const target = path.join(directory, name)
  fs.mkdirSync(target)
  const from = fs.openSync(path.join(directory, image), 'r')
  const pages = fs.fstatSync(from).size / PAGE_BYTES
  for (let i = 0; i < count; i++) {
    const fd = fs.openSync(path.join(target, `f${i}`), 'w')
    const error = cloneFile(fd, from)
    if (error < 0) throw new SystemError(-error, 'ioctl FICLONE')
    for (let k = 0; k < rewrittenPages; k++) {
      const page = Math.floor(((k + 0.5) / rewrittenPages) * pages)
      fs.writeSync(fd, Buffer.alloc(PAGE_BYTES, `${i}`), 0, PAGE_BYTES, page * PAGE_BYTES)
    }
    fs.fsyncSync(fd)
    fs.closeSync(fd)
  }
  fs.closeSync(from)
}

/** A directory and a tree that are there to be asked for, so that a server has compiled and cached what it needs when it is measured. */
export const EXERCISE = { name: 'exercise', files: 10_000, tree: 'exercise-tree', directories: 200 } as const

export function writeExercise(directory: string): void {
  writeMany(directory, EXERCISE.name, EXERCISE.files, 100)
  for (let i = 0; i < EXERCISE.directories; i++) writeMany(directory, `${EXERCISE.tree}/${i}`, 50, 100)
}

/** Reads a file once, so that it is cached from now on for a while: this machine may forget what nobody touches for a minute. */
export function warm(...file: string[]): void {
  const buffer = Buffer.alloc(1 << 20)
  const fd = fs.openSync(path.join(...file), 'r')
  while (fs.readSync(fd, buffer) > 0);
  fs.closeSync(fd)
}
