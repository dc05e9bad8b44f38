/**
 * Equal content without shared extents: reads every stored page once, hashes it, and counts pages with equal hashes.
 *
 * A page that several files share is read through one of them; so whatever is found twice is stored twice. Holes and
 * unwritten extents are not stored, so they are not read.
 */
import { createXXHash64 } from 'hash-wasm'
import { ERRNO } from '../linux/errors.ts'
import { close, lseek, SEEK_DATA, SEEK_HOLE } from '../linux/file.ts'
import { Statx } from '../linux/statx.ts'
import { ExtentFlag, ExtentList } from '../storage/extents.ts'
import { readExtents } from '../storage/read-extents.ts'
import { PAGE_BYTES } from '../util/page.ts'
import type { WalkedDevice } from './filesystems.ts'
import type { Measurement } from './measure.ts'
import { PageClasses } from './page-classes.ts'
import { openQuietly, QuietReader } from './quiet-reader.ts'
import { type Handler, Selection } from './selection.ts'
import { coverOnce } from './sweep.ts'
import type { Entry } from './walk.ts'

/** What was found; the part of the report that `--content` adds. */
export interface ContentReport {
  /** Bytes of pages that were read and hashed; each stored page once. */
  readBytes: number
  seconds: number
  /** Pages of zeros that are stored as such. Not part of the figures below. */
  zeroBytes: number
  /** Bytes that would be saved if equal pages were stored, or held, once. Where only a sample was remembered, an estimate. */
  equalBytes: number
  /** The interval that holds the true figure with probability `confidence`; both are `equalBytes` without a sample. */
  lowBytes: number
  highBytes: number
  confidence: number
  /** Part of the contents that was remembered: 1 for all. */
  sampleShare: number
  /** Files that could not be read to their end. */
  failedFiles: number
}

interface ContentOptions {
  /** Part of the contents to remember, > 0 to 1. */
  sampleShare: number
  /** Called a few times a second with the bytes read, and those that there may be in all. */
  onProgress?: ((bytes: number, total: number) => void) | undefined
}

const PROGRESS_INTERVAL_MS = 100

/** Reads what `measurement` walked, once more, and hashes it. Blocks the thread for as long as that takes. */
export async function compareContent(measurement: Measurement, options: ContentOptions): Promise<ContentReport> {
  const hasher = await createXXHash64()
  const reading = new ContentReading(measurement, options, (page) => {
    hasher.init()
    hasher.update(page)
    return hasher.digest('binary')
  })
  return reading.run()
}

class ContentReading implements Handler {
  readonly #measurement: Measurement
  readonly #options: ContentOptions
  readonly #hash: (page: Uint8Array) => Uint8Array
  readonly #classes: PageClasses
  readonly #stat = new Statx()
  readonly #selection: Selection
  /** Index of a file that shares storage, by device and inode number. */
  readonly #sharing: Map<number, Map<number, number>>
  readonly #ownStretches: Stretches
  readonly #extents = new ExtentList()
  readonly #reader = new QuietReader()
  readonly #total: number
  #bytes = 0
  #failedFiles = 0
  #nextProgress_ms = 0

  constructor(measurement: Measurement, options: ContentOptions, hash: (page: Uint8Array) => Uint8Array) {
    this.#measurement = measurement
    this.#options = options
    this.#hash = hash
    this.#classes = new PageClasses(options.sampleShare, hash(new Uint8Array(PAGE_BYTES)))
    this.#selection = new Selection(measurement.options, this, this.#stat)
    this.#sharing = indexByInode(measurement)
    this.#ownStretches = new Stretches(measurement)
    this.#total = measurement.allocated - measurement.sums.saved
  }

  run(): ContentReport {
    const started = performance.now()
    this.#selection.walk()
    const { zeroPages, equal, deviation } = this.#classes.estimate()
    const { sampleShare } = this.#options
    // 95% of a normal distribution lie within 1.96 standard deviations.
    const margin = 1.96 * deviation * PAGE_BYTES
    const equalBytes = Math.round(equal * PAGE_BYTES)
    this.#options.onProgress?.(this.#bytes, this.#bytes)
    return {
      readBytes: this.#bytes,
      seconds: (performance.now() - started) / 1000,
      zeroBytes: zeroPages * PAGE_BYTES,
      equalBytes,
      lowBytes: Math.max(0, Math.round(equalBytes - margin)),
      highBytes: Math.round(equalBytes + margin),
      confidence: sampleShare === 1 ? 1 : 0.95,
      sampleShare,
      failedFiles: this.#failedFiles,
    }
  }

  enter(): number {
    return 0
  }

  leave(): void {}

  file(entry: Entry, device: WalkedDevice): number {
    const { size, blocks, ino } = this.#stat
    if (size === 0 || blocks === 0) return 0
    const sharing = this.#sharing.get(device.number)?.get(ino)
    if (sharing !== undefined && !this.#selection.isFirst(device)) return 0
    const fd = openQuietly(entry.directoryFd, entry.pointer)
    if (fd < 0) return fd
    try {
      this.#reader.begin(fd, this.#stat, device.filesystem.residency)
      const hasExtents = device.filesystem.sharing === 'extents' && this.#mapExtents(fd, size)
      const error = hasExtents ? this.#readOwn(size, sharing) : this.#readData(fd, size)
      if (error < 0) this.#failedFiles++
    } finally {
      close(fd)
    }
    return 0
  }

  /** All data of a file on a file system that knows no sharing. Returns 0 or -errno. */
  #readData(fd: number, size: number): number {
    for (let at = 0; at < size; ) {
      const start = lseek(fd, at, SEEK_DATA)
      // Nothing but a hole follows.
      if (start === -ERRNO.ENXIO) return 0
      if (start < 0) return start
      const end = lseek(fd, start, SEEK_HOLE)
      if (end < 0) return end
      const error = this.#read(start, Math.min(end, size))
      if (error < 0) return error
      at = end
    }
    return 0
  }

  #mapExtents(fd: number, size: number): boolean {
    return readExtents(fd, 0, size, this.#extents, undefined, this.#measurement.options.sync) >= 0
  }

  /**
   * What a file does not share, and of what it shares the stretches that no other file reads. What it shares without
   * saying where (compressed extents) is passed over: it would look equal to itself.
   */
  #readOwn(size: number, sharing: number | undefined): number {
    const { count, logical, length, flags } = this.#extents
    for (let i = 0; i < count; i++) {
      if ((flags[i]! & (ExtentFlag.SHARED | ExtentFlag.UNWRITTEN)) !== 0) continue
      const error = this.#read(logical[i]!, logical[i]! + length[i]!)
      if (error < 0) return error
    }
    if (sharing === undefined) return 0
    return this.#ownStretches.each(sharing, (offset, bytes) => this.#read(offset, Math.min(offset + bytes, size)))
  }

  /** Reads and hashes the pages that begin in [start, end) of a file. Returns 0 or -errno. */
  #read(start: number, end: number): number {
    return this.#reader.read(Math.ceil(start / PAGE_BYTES) * PAGE_BYTES, end, (bytes) => {
      for (let at = 0; at < bytes.length; at += PAGE_BYTES) this.#classes.add(this.#hash(this.#wholePage(bytes, at)))
      this.#bytes += Math.ceil(bytes.length / PAGE_BYTES) * PAGE_BYTES
      this.#progress()
    })
  }

  /** A page in memory is filled up with zeros after the end of its file. */
  #wholePage(bytes: Uint8Array, at: number): Uint8Array {
    const page = bytes.subarray(at, at + PAGE_BYTES)
    if (page.length === PAGE_BYTES) return page
    const whole = new Uint8Array(PAGE_BYTES)
    whole.set(page)
    return whole
  }

  #progress(): void {
    const now = performance.now()
    if (now < this.#nextProgress_ms) return
    this.#nextProgress_ms = now + PROGRESS_INTERVAL_MS
    this.#options.onProgress?.(this.#bytes, Math.max(this.#total, this.#bytes))
  }
}

function indexByInode({ files }: Measurement): Map<number, Map<number, number>> {
  const devices = new Map<number, Map<number, number>>()
  for (let file = 0; file < files.count; file++) {
    const device = files.device[file]!
    let inodes = devices.get(device)
    if (inodes === undefined) {
      inodes = new Map()
      devices.set(device, inodes)
    }
    inodes.set(files.ino[file]!, file)
  }
  return devices
}

/** Which file reads which part of what is shared: a list of (offset, length) for each file, chained. */
class Stretches {
  readonly #head: Int32Array
  readonly #offset: number[] = []
  readonly #length: number[] = []
  readonly #next: number[] = []

  constructor({ files, filesystems }: Measurement) {
    this.#head = new Int32Array(files.count).fill(-1)
    for (const { ranges } of filesystems) {
      coverOnce(ranges, (file, offset, length) => {
        this.#next.push(this.#head[file]!)
        this.#head[file] = this.#offset.length
        this.#offset.push(offset)
        this.#length.push(length)
      })
    }
  }

  /** Calls `visit` for the stretches of `file` until one answer is negative; returns that, or 0. */
  each(file: number, visit: (offset: number, length: number) => number): number {
    for (let at = this.#head[file]!; at !== -1; at = this.#next[at]!) {
      const result = visit(this.#offset[at]!, this.#length[at]!)
      if (result < 0) return result
    }
    return 0
  }
}
