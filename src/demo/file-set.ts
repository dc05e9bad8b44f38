/**
 * The files that the demonstration reads: one image and its clones, of which every second one had some of its pages rewritten,
 * as virtual machines do that were started from one image.
 */
import fs from 'node:fs'
import path from 'node:path'
import { cloneFile } from '../linux/clone.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { type Cleanup, openUntil } from './cleanup.ts'
import { Content } from './content.ts'

const CHUNK_BYTES = 1 << 20

export interface FileSetOptions {
  /** Bytes of the image, a multiple of 4096. */
  readonly size: number
  readonly clones: number
  /** Part of its pages that a diverged clone has rewritten. */
  readonly rewritten: number
  readonly seed: number
}

export type FileKind = 'image' | 'pristine' | 'diverged'

export interface SetFile {
  readonly name: string
  readonly kind: FileKind
  /** Page indexes that were rewritten, ascending; none but in diverged clones. */
  readonly rewrittenPages: readonly number[]
  /** What was written there. */
  readonly own: Content
}

export class FileSet {
  readonly options: FileSetOptions
  readonly files: readonly SetFile[]
  readonly #image: Content

  constructor(options: FileSetOptions) {
    this.options = options
    this.#image = new Content(options.seed, 'image')
    const pages = options.size / PAGE_BYTES
    const rewritten = Math.max(1, Math.round(pages * options.rewritten))
    this.files = Array.from({ length: options.clones + 1 }, (_, i): SetFile => {
      const own = new Content(options.seed, `clone ${i}`)
      if (i === 0) return { name: 'image', kind: 'image', rewrittenPages: [], own }
      const name = `clone-${String(i).padStart(String(options.clones).length, '0')}`
      if (i % 2 === 1) return { name, kind: 'pristine', rewrittenPages: [], own }
      const pagesOf = new Content(options.seed, `pages of clone ${i}`)
      return { name, kind: 'diverged', rewrittenPages: pagesOf.choose(rewritten, pages), own }
    })
  }

  /** Bytes of all files, as `ls` shows them. */
  get totalBytes(): number {
    return this.files.length * this.options.size
  }

  /** Bytes that differ from all others: what is on the disk, and what memory has to hold at least. */
  get uniqueBytes(): number {
    return this.options.size + this.files.reduce((sum, file) => sum + file.rewrittenPages.length, 0) * PAGE_BYTES
  }

  /** What `file` holds from `offset` (a multiple of 4096) on: 1 MiB, or less at the end. */
  expected(file: SetFile, offset: number): Buffer {
    const bytes = this.#image.bytes(offset, Math.min(CHUNK_BYTES, this.options.size - offset))
    const end = offset + bytes.length
    for (let i = firstAtLeast(file.rewrittenPages, offset / PAGE_BYTES); ; i++) {
      const page = file.rewrittenPages[i]
      if (page === undefined || page * PAGE_BYTES >= end) return bytes
      file.own.bytes(page * PAGE_BYTES, PAGE_BYTES).copy(bytes, page * PAGE_BYTES - offset)
    }
  }

  /**
   * Writes the files into `directory`, and to the disk. `written` is called with the bytes done since the last time.
   * Waits for `written`, which may let other things happen.
   * Returns false where the file system can't clone, and the files are full copies. Throws what the file system does.
   */
  async write(directory: string, cleanup: Cleanup, written: (bytes: number) => Promise<void>): Promise<boolean> {
    const { size } = this.options
    const [image, ...clones] = this.files as [SetFile, ...SetFile[]]
    const opened = openUntil(cleanup, path.join(directory, image.name), 'wx+')
    let isCloned = true
    try {
      await this.#fill(opened.fd, image, written)
      for (const clone of clones) {
        const { fd, close } = openUntil(cleanup, path.join(directory, clone.name), 'wx')
        try {
          isCloned = isCloned && tryClone(fd, opened.fd)
          if (isCloned) {
            for (const page of clone.rewrittenPages)
              fs.writeSync(fd, clone.own.bytes(page * PAGE_BYTES, PAGE_BYTES), 0, PAGE_BYTES, page * PAGE_BYTES)
            fs.fsyncSync(fd)
            await written(size)
          } else await this.#fill(fd, clone, written)
        } finally {
          close()
        }
      }
      return isCloned
    } finally {
      opened.close()
    }
  }

  async #fill(fd: number, file: SetFile, written: (bytes: number) => Promise<void>): Promise<void> {
    const { size } = this.options
    for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
      const bytes = this.expected(file, offset)
      fs.writeSync(fd, bytes, 0, bytes.length, offset)
      await written(bytes.length)
    }
    fs.fsyncSync(fd)
  }
}

function tryClone(fd: number, imageFd: number): boolean {
  const error = cloneFile(fd, imageFd)
  if (error === 0) return true
  const cannot: number[] = [ERRNO.EOPNOTSUPP, ERRNO.ENOTTY, ERRNO.EINVAL, ERRNO.EXDEV, ERRNO.ENOSYS]
  if (cannot.includes(-error)) return false
  throw new SystemError(-error, 'ioctl FICLONE')
}

/** Index of the first element of `ascending` that is `value` or more. */
function firstAtLeast(ascending: readonly number[], value: number): number {
  let low = 0
  let high = ascending.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (ascending[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
