/**
 * Follows a plan: has the kernel compare each run once more, under the locks of both files, and let the target share the source's blocks.
 *
 * Content, size, times and permissions of files stay as they are. Whatever was true when the plan was made, nothing but equal bytes comes to share.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { QuietReader } from '../inspect/quiet-reader.ts'
import type { ResidencySource } from '../inspect/residency.ts'
import { isGone } from '../inspect/walk.ts'
import { dedupeRange } from '../linux/clone.ts'
import { ERRNO, errnoName } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { isOpenForWriting } from '../linux/lease.ts'
import { Statx } from '../linux/statx.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { openCandidate } from './candidate-file.ts'
import type { FileUses } from './file-uses.ts'
import { leaveStored, type Plan } from './plan.ts'
import type { StoredPages } from './stored-pages.ts'

/** What one call asks for: the most that btrfs takes at once, and some milliseconds of both files being locked. */
const CALL_BYTES = 16 * 2 ** 20
const CALL_PAGES = CALL_BYTES / PAGE_BYTES
/** Sources that stay open; of many targets the source is the same. */
const SOURCES_OPEN = 16

/** What was done. */
export interface Applied {
  /** Runs that were done, as a whole or in part. */
  runs: number
  /** Bytes of files that have come to share. */
  sharedBytes: number
  /** Bytes of the device that nobody whom we know uses any more. */
  savedBytes: number
  /** Bytes that were not equal any more, or whose file has gone or got another size. */
  differentBytes: number
  /** Bytes of files that somebody has opened for writing meanwhile. */
  busyBytes: number
  /** What the kernel refused: by error, with one of the files. */
  failures: { error: string; bytes: number; path: string }[]
  isInterrupted: boolean
}

interface ApplyOptions {
  readonly best: ResidencySource
  /** Asked between two calls: is it to end now? */
  readonly isInterrupted: () => boolean
  /** Called after each call, with the bytes of the plan that are done. */
  readonly onProgress: (bytes: number) => void
}

/** Follows `plan`. A call blocks the thread; between calls events are handled. Errors of single files are in the result. */
export async function applyPlan(
  uses: FileUses,
  pages: StoredPages,
  plan: Plan,
  options: ApplyOptions,
): Promise<Applied> {
  const applying = new Applying(uses, pages, plan, options)
  try {
    return await applying.run()
  } finally {
    applying.close()
  }
}

class Applying {
  readonly #uses: FileUses
  readonly #pages: StoredPages
  readonly #plan: Plan
  readonly #options: ApplyOptions
  readonly #applied: Applied = {
    runs: 0,
    sharedBytes: 0,
    savedBytes: 0,
    differentBytes: 0,
    busyBytes: 0,
    failures: [],
    isInterrupted: false,
  }
  readonly #stat = new Statx()
  /** The kernel reads both to compare them; what it reads is dropped again. */
  readonly #sourceReader = new QuietReader()
  readonly #targetReader = new QuietReader()
  /** Descriptors or -errno, the one used last at the end. */
  readonly #sources = new Map<number, number>()
  #source = -1
  #target = -1
  #targetFd = -1
  #doneBytes = 0

  constructor(uses: FileUses, pages: StoredPages, plan: Plan, options: ApplyOptions) {
    this.#uses = uses
    this.#pages = pages
    this.#plan = plan
    this.#options = options
  }

  async run(): Promise<Applied> {
    for (let run = 0; run < this.#plan.count && !this.#applied.isInterrupted; run++) await this.#share(run)
    return this.#applied
  }

  close(): void {
    for (const fd of this.#sources.values()) if (fd >= 0) close(fd)
    if (this.#targetFd >= 0) close(this.#targetFd)
  }

  async #share(run: number): Promise<void> {
    const { source, target, pages } = this.#plan
    const targetFd = this.#openTarget(target[run]!)
    const sourceFd = targetFd < 0 ? targetFd : this.#openSource(source[run]!)
    if (sourceFd < 0) {
      const bytes = this.#bytes(run, 0, pages[run]!)
      if (targetFd === -ERRNO.ETXTBSY) this.#applied.busyBytes += bytes
      else if (isGone(sourceFd) || sourceFd === -ERRNO.ESTALE) this.#applied.differentBytes += bytes
      else this.#fail(sourceFd, bytes, targetFd < 0 ? target[run]! : source[run]!)
      this.#advance(bytes)
      return
    }
    let hasShared = false
    for (let page = 0; page < pages[run]!; ) {
      if (this.#options.isInterrupted()) {
        this.#applied.isInterrupted = true
        break
      }
      const count = Math.min(CALL_PAGES, pages[run]! - page)
      const bytes = this.#bytes(run, page, count)
      const got = this.#call(run, page, count, bytes, sourceFd, targetFd)
      if (got < 0) {
        // What is wrong with these files is wrong with the rest of the run.
        const rest = this.#bytes(run, page, pages[run]! - page)
        if (this.#haveSizesChanged(run, sourceFd, targetFd)) this.#applied.differentBytes += rest
        else this.#fail(got, rest, target[run]!)
        this.#advance(rest)
        break
      }
      // Where they differ somewhere in this piece, others of its pages are equal still: for the next time.
      const shared = got === 0 ? 0 : got === bytes ? count : Math.floor(got / PAGE_BYTES)
      if (shared === 0) this.#applied.differentBytes += bytes
      else {
        hasShared = true
        const sharedBytes = this.#bytes(run, page, shared)
        this.#applied.sharedBytes += sharedBytes
        this.#applied.savedBytes += leaveStored(this.#uses, this.#pages, this.#plan, run, page, shared) * PAGE_BYTES
      }
      page += shared || count
      this.#advance(this.#bytes(run, page - (shared || count), shared || count))
      await breathe()
    }
    if (hasShared) this.#applied.runs++
  }

  /** One call of the kernel. Bytes shared, 0 if they differ, or -errno. */
  #call(run: number, page: number, count: number, bytes: number, sourceFd: number, targetFd: number): number {
    const from = this.#plan.sourcePage[run]! + page
    const to = this.#plan.targetPage[run]! + page
    const mustDropSource = this.#sourceReader.notePresent(from, count)
    const mustDropTarget = this.#targetReader.notePresent(to, count)
    // By itself the kernel would wait for page after page.
    this.#sourceReader.prefetch(from, count)
    this.#targetReader.prefetch(to, count)
    const got = dedupeRange(targetFd, to * PAGE_BYTES, sourceFd, from * PAGE_BYTES, bytes)
    if (mustDropSource) this.#sourceReader.dropOthers(from, count)
    if (mustDropTarget) this.#targetReader.dropOthers(to, count)
    return got
  }

  /** Bytes of `count` pages of a run: the last page of a file need not be whole. */
  #bytes(run: number, page: number, count: number): number {
    const start = (this.#plan.targetPage[run]! + page) * PAGE_BYTES
    return Math.min(count * PAGE_BYTES, this.#uses.size[this.#plan.target[run]!]! - start)
  }

  #haveSizesChanged(run: number, sourceFd: number, targetFd: number): boolean {
    const hasChanged = (fd: number, file: number) =>
      this.#stat.ofFd(fd) < 0 || this.#stat.size !== this.#uses.size[file]!
    return hasChanged(sourceFd, this.#plan.source[run]!) || hasChanged(targetFd, this.#plan.target[run]!)
  }

  #advance(bytes: number): void {
    this.#doneBytes += bytes
    this.#options.onProgress(this.#doneBytes)
  }

  #fail(error: number, bytes: number, file: number): void {
    const name = errnoName(-error)
    const failure = this.#applied.failures.find((known) => known.error === name)
    if (failure !== undefined) failure.bytes += bytes
    else this.#applied.failures.push({ error: name, bytes, path: this.#uses.path(file) })
  }

  /** A descriptor or -errno; ETXTBSY: somebody has it open for writing. */
  #openTarget(file: number): number {
    if (file === this.#target) return this.#targetFd
    if (this.#targetFd >= 0) close(this.#targetFd)
    this.#target = file
    this.#targetFd = openCandidate(this.#uses, file, this.#stat)
    if (this.#targetFd < 0) return this.#targetFd
    if (isOpenForWriting(this.#targetFd) === true) {
      close(this.#targetFd)
      this.#targetFd = -ERRNO.ETXTBSY
    } else this.#targetReader.begin(this.#targetFd, this.#stat, this.#options.best)
    return this.#targetFd
  }

  #openSource(file: number): number {
    let fd = this.#sources.get(file)
    if (file === this.#source && fd !== undefined) return fd
    this.#sources.delete(file)
    if (this.#sources.size === SOURCES_OPEN) {
      const [oldest, oldFd] = this.#sources.entries().next().value!
      this.#sources.delete(oldest)
      if (oldFd >= 0) close(oldFd)
    }
    fd ??= openCandidate(this.#uses, file, this.#stat)
    this.#sources.set(file, fd)
    this.#source = file
    if (fd >= 0 && this.#stat.ofFd(fd) === 0) this.#sourceReader.begin(fd, this.#stat, this.#options.best)
    return fd
  }
}
