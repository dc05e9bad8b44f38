/** Files with known content and known extents, for tests on real file systems. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { cloneFile, cloneRange } from '../../src/linux/clone.ts'
import { close, fadvise, O_NOATIME, O_RDONLY, O_RDWR, open, POSIX_FADV_DONTNEED } from '../../src/linux/file.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import { Statx } from '../../src/linux/statx.ts'
import { ExtentList } from '../../src/storage/extents.ts'
import { readExtents } from '../../src/storage/read-extents.ts'

export const KIBIBYTE = 2 ** 10
export const MEBIBYTE = 2 ** 20
export const PAGE = 4096

/** Runs a program, with the administrator's directories on the PATH; returns what it printed. Throws its stderr. */
export function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
  })
}

/** Bytes that look random, do not compress, and are the same for the same seed. */
export function noise(bytes: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4))
  let state = (Math.imul(seed, 0x9e3779b9) ^ 0x85ebca6b) >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return Buffer.from(words.buffer, 0, bytes)
}

/** Writes a file whose data is on the device when this returns. */
export function writeSynced(path: string, content: Uint8Array): void {
  fs.writeFileSync(path, '')
  overwrite(path, 0, content)
}

/** Overwrites a part of a file; `sync` waits until it is on the device. */
export function overwrite(path: string, offset: number, content: Uint8Array, sync = true): void {
  const fd = fs.openSync(path, 'r+')
  try {
    for (let done = 0; done < content.length; )
      done += fs.writeSync(fd, content, done, content.length - done, offset + done)
    if (sync) fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Makes `copy` a reflink clone of `original`. */
export function clone(original: string, copy: string): void {
  const source = open(original, O_RDONLY)
  const target = open(copy, O_RDWR | fs.constants.O_CREAT, 0o644)
  const error = cloneFile(target, source)
  close(source)
  close(target)
  if (error < 0) throw new Error(`cloning ${original} to ${copy}: errno ${-error}`)
}

/** Opens for reading, passes the descriptor on, closes. */
export function withFd<T>(path: string, use: (fd: number) => T, flags: number = O_RDONLY): T {
  const fd = open(path, flags)
  try {
    return use(fd)
  } finally {
    close(fd)
  }
}

export function extentsOf(path: string, start = 0, length = Number.MAX_SAFE_INTEGER): ExtentList {
  return withFd(path, (fd) => extentsOfFd(fd, start, length))
}

export function extentsOfFd(fd: number, start = 0, length = Number.MAX_SAFE_INTEGER): ExtentList {
  const list = new ExtentList()
  const result = readExtents(fd, start, length, list)
  if (result < 0) throw new Error(`FIEMAP: errno ${-result}`)
  list.check()
  return list
}

/** What a proof labels its result with, as text. */
export function stampOf(path: string): string {
  return withFd(path, (fd) => {
    const stat = new Statx()
    stat.ofFd(fd)
    return `ctime ${stat.ctimeSec}.${stat.ctimeNsec} mtime ${stat.mtimeSec}.${stat.mtimeNsec} size ${stat.size}`
  })
}

/** Makes the next read come from the device. */
export function forgetCached(path: string): void {
  withFd(path, (fd) => fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
}

/** Free bytes of the file system, after everything deferred has been done. */
export function freeBytes(path: string): number {
  run('sync', '-f', path)
  const { bfree, bsize } = fs.statfsSync(path)
  return bfree * bsize
}

/**
 * A file of `count` blocks of 4096 bytes at every second block, holes between them: each is an extent of its own, and
 * nobody else's. For file systems with reflinks.
 */
export function writeScattered(path: string, count: number, seed = 1): void {
  const dense = `${path}.dense`
  writeSynced(dense, noise(count * PAGE, seed))
  fs.writeFileSync(path, '')
  withFd(dense, (source) =>
    withFd(
      path,
      (target) => {
        for (let i = 0; i < count; i++) cloneRange(target, 2 * i * PAGE, source, i * PAGE, PAGE)
      },
      O_RDWR,
    ),
  )
  // XFS frees an unlinked file's extents some time later, in the background, and only then are these here shared no more.
  fs.truncateSync(dense)
  fs.unlinkSync(dense)
  run('sync', '-f', path)
}

/**
 * A file that lies in `pieces` pieces of 64 KiB, because it grew in turns with another one that is gone; returns its
 * content. Written around the page cache: what the file system would allocate ahead of buffered writes undoes the effect.
 */
export function writeFragmented(path: string, pieces: number): Buffer {
  const length = 64 * KIBIBYTE
  const bytes = noise(pieces * length, 11)
  const content = `/dev/shm/samepage-fragmented-${process.pid}`
  fs.writeFileSync(content, bytes)
  for (let i = 0; i < pieces; i++) {
    for (const file of [path, `${path}-between`])
      run(
        'dd',
        `if=${content}`,
        `of=${file}`,
        `bs=${length}`,
        'count=1',
        `skip=${i}`,
        `seek=${i}`,
        'oflag=direct',
        'conv=notrunc',
        'status=none',
      )
  }
  fs.unlinkSync(content)
  fs.unlinkSync(`${path}-between`)
  run('sync', '-f', path)
  return bytes
}

/** Where in an image a page of noise lies, in bytes. */
export function placeOf(image: string, page: Buffer): number {
  const chunk = Buffer.alloc(8 * MEBIBYTE)
  return withFd(image, (fd) => {
    const { size } = fs.fstatSync(fd)
    for (let offset = 0; offset < size; offset += chunk.length) {
      const length = fs.readSync(fd, chunk, 0, chunk.length, offset)
      const found = chunk.subarray(0, length).indexOf(page)
      if (found >= 0) return offset + found
    }
    throw new Error('the page is not in the image')
  })
}

/** What of `length` bytes from `offset` on the file has. */
export function readAt(path: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const fd = fs.openSync(path, 'r')
  try {
    return bytes.subarray(0, fs.readSync(fd, bytes, 0, length, offset))
  } finally {
    fs.closeSync(fd)
  }
}

/** Pages of a file in the page cache, natively or through a mount. Its time of access stays as it is. */
export function residentIn(path: string): number {
  const pages = Math.ceil(fs.statSync(path).size / PAGE)
  return withFd(path, (fd) => residentPages(fd, 0, pages * PAGE, new Uint8Array(pages)), O_RDONLY | O_NOATIME)
}

/** Where the descriptors of this process lead that lead into the directory. */
export function descriptorsInto(directory: string): string[] {
  return fs
    .readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`)
      } catch {
        // Closed meanwhile: that of the list itself is.
        return ''
      }
    })
    .filter((target) => target.startsWith(directory))
}
