/** Reading files from one end to the other, timed; and checking what they hold. */
import fs from 'node:fs'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { cachedPages } from '../linux/cachestat.ts'
import { fadvise, POSIX_FADV_DONTNEED } from '../linux/file.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { type Cleanup, openUntil } from './cleanup.ts'
import type { FileSet, SetFile } from './file-set.ts'

const CHUNK_BYTES = 1 << 20
/** Bytes between two turns of the event loop, which moves the progress bar and hears signals. */
const TURN_BYTES = 32 << 20

/** Called with the bytes done since the last time; not part of what is timed. */
type Tick = (bytes: number) => void

export class Reader {
  readonly #buffer = Buffer.alloc(CHUNK_BYTES)
  readonly #cleanup: Cleanup

  /** `cleanup` closes what is open. */
  constructor(cleanup: Cleanup) {
    this.#cleanup = cleanup
  }

  /** Opens `file`, reads it in pieces of 1 MiB and closes it: seconds. */
  async read(file: string, tick: Tick): Promise<number> {
    let seconds = 0
    let began = performance.now()
    const { fd, close } = openUntil(this.#cleanup, file, 'r')
    try {
      for (let offset = 0, reported = 0; ; ) {
        const length = fs.readSync(fd, this.#buffer, 0, CHUNK_BYTES, offset)
        offset += length
        if (length > 0 && offset - reported < TURN_BYTES) continue
        seconds += (performance.now() - began) / 1000
        tick(offset - reported)
        reported = offset
        await turn()
        began = performance.now()
        if (length === 0) break
      }
    } finally {
      close()
    }
    return seconds + (performance.now() - began) / 1000
  }

  /** Compares all files of `set` in `directory` with what was written to them. Returns the names of those that differ. */
  async verify(set: FileSet, directory: string, tick: Tick): Promise<string[]> {
    const wrong: string[] = []
    for (const file of set.files) if (!(await this.#isRight(set, file, directory, tick))) wrong.push(file.name)
    return wrong
  }

  async #isRight(set: FileSet, file: SetFile, directory: string, tick: Tick): Promise<boolean> {
    const { fd, close } = openUntil(this.#cleanup, path.join(directory, file.name), 'r')
    try {
      for (let offset = 0; offset < set.options.size; offset += CHUNK_BYTES) {
        const expected = set.expected(file, offset)
        const length = fs.readSync(fd, this.#buffer, 0, CHUNK_BYTES, offset)
        if (!expected.equals(this.#buffer.subarray(0, length))) return false
        tick(length)
        if (offset % TURN_BYTES === 0) await turn()
      }
      // And nothing behind.
      return fs.readSync(fd, this.#buffer, 0, 1, set.options.size) === 0
    } finally {
      close()
    }
  }
}

/** Bytes of the files of `set` that the page cache holds under their own names. */
export function cachedBytes(set: FileSet, directory: string): number {
  return set.files.reduce((sum, { name }) => {
    const fd = fs.openSync(path.join(directory, name), 'r')
    const pages = cachedPages(fd)
    fs.closeSync(fd)
    return sum + pages * PAGE_BYTES
  }, 0)
}

/** Asks the kernel to forget what it caches of the files of `set`; they must have been written to the disk. */
export function forgetCached(set: FileSet, directory: string): void {
  for (const { name } of set.files) forgetFile(path.join(directory, name))
}

/** As {@link forgetCached}, for one file. */
export function forgetFile(file: string): void {
  const fd = fs.openSync(file, 'r')
  fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
  fs.closeSync(fd)
}
