/** Reads each stored page once, through the first file that has it, and notes the hash of its content. */
import { createXXHash64 } from 'hash-wasm'
import { WINDOW_PAGES } from '../inspect/page-states.ts'
import { QuietReader } from '../inspect/quiet-reader.ts'
import type { ResidencySource } from '../inspect/residency.ts'
import { close } from '../linux/file.ts'
import { Statx } from '../linux/statx.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { breathing } from './breaths.ts'
import { openCandidate } from './candidate-file.ts'
import type { FileUses } from './file-uses.ts'
import type { StoredPages } from './stored-pages.ts'

interface ReadResult {
  bytes: number
  /** Pages of zeros among them. */
  zeroBytes: number
  /** Files that could not be read to their end. */
  failedFiles: number
  isInterrupted: boolean
}

interface ReadOptions {
  /** See QuietReader. */
  readonly best: ResidencySource
  /** Asked many times a second, after events were handled: is it to end now? */
  readonly isInterrupted: () => boolean
  /** Called with the bytes read so far. */
  readonly onProgress: (bytes: number) => void
}

/** Read at once, at most: a moment in which no event is handled. */
const CHUNK_PAGES = WINDOW_PAGES

/** Blocks the thread but for a breath many times a second. */
export async function readPages(uses: FileUses, pages: StoredPages, options: ReadOptions): Promise<ReadResult> {
  const hasher = await createXXHash64()
  const hash = (page: Uint8Array) => hasher.init().update(page).digest('binary')
  const zeros = hash(new Uint8Array(PAGE_BYTES))
  const result: ReadResult = { bytes: 0, zeroBytes: 0, failedFiles: 0, isInterrupted: false }
  const reader = new QuietReader()
  const stat = new Statx()

  const breath = breathing(options.isInterrupted)
  const pause = async (): Promise<void> => {
    if (await breath()) result.isInterrupted = true
  }

  /** Reads what is not read yet of a use. Returns 0 or -errno. */
  const readUse = async (use: number): Promise<number> => {
    const first = uses.page[use]!
    const toStored = uses.stored[use]! - first
    const end = first + uses.pages[use]!
    for (let page = first; page < end && !result.isInterrupted; ) {
      let next = page + 1
      if (!pages.isRead(page + toStored)) {
        const chunkEnd = Math.min(end, page + CHUNK_PAGES)
        while (next < chunkEnd && !pages.isRead(next + toStored)) next++
        const endBytes = Math.min(next * PAGE_BYTES, uses.size[uses.file[use]!]!)
        const error = reader.read(page * PAGE_BYTES, endBytes, (bytes, offset) => {
          note(bytes, offset / PAGE_BYTES + toStored)
          options.onProgress(result.bytes)
        })
        if (error < 0) return error
        await pause()
      }
      page = next
    }
    return 0
  }

  /** Notes the pages of a piece of a file, of which the first is the stored page `stored`. */
  const note = (bytes: Uint8Array, stored: number): void => {
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
      const digest = hash(bytes.subarray(at, at + PAGE_BYTES))
      const isZeros = digest.every((byte, i) => byte === zeros[i])
      pages.setRead(stored + at / PAGE_BYTES, wordAt(digest, 0), wordAt(digest, 4), isZeros)
      if (isZeros) result.zeroBytes += PAGE_BYTES
    }
    result.bytes += bytes.length
  }

  for (let file = 0; file < uses.fileCount && !result.isInterrupted; file++) {
    if (isAllRead(uses, pages, file)) continue
    const fd = openCandidate(uses, file, stat)
    if (fd < 0) {
      result.failedFiles++
      continue
    }
    reader.begin(fd, stat, options.best)
    let error = 0
    for (let use = uses.firstUse[file]!; use < uses.endUse[file]! && error === 0; use++) error = await readUse(use)
    if (error < 0) result.failedFiles++
    close(fd)
  }
  return result
}

function isAllRead(uses: FileUses, pages: StoredPages, file: number): boolean {
  for (let use = uses.firstUse[file]!; use < uses.endUse[file]!; use++) {
    const end = uses.stored[use]! + uses.pages[use]!
    for (let page = uses.stored[use]!; page < end; page++) if (!pages.isRead(page)) return false
  }
  return true
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
