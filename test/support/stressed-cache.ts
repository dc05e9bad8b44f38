/**
 * Two threads that read through a cache what this one writes, until they are told to stop. Each page has versions:
 *
 *     started[page] := version → write → done[page] := version        done before the read <= version read <= started after it
 */
import type { PageCache } from '../../src/index.ts'
import { cacheWorker } from './cache-worker.ts'

/** How often each way of reading was taken. */
export interface ReadCounts {
  readonly hits: number
  readonly reads: number
  readonly views: number
}

export interface StressReaders {
  /** By page, file after file. */
  readonly started: Int32Array
  readonly done: Int32Array
  /** Rejects when a reader has failed. */
  readonly failed: Promise<never>
  /** Tells the readers to stop. */
  stop(): void
  /** What each reader has counted; rejects with the error of one that failed. */
  counts(): Promise<ReadCounts[]>
  /** When they have ended. */
  ended(): Promise<void>
}

export interface StressOptions {
  readonly paths: readonly string[]
  /** Of each file. */
  readonly pages: number
  readonly seed: number
  /** For the readers: `data`. */
  readonly data?: Readonly<Record<string, unknown>>
}

/**
 * What readers begin with: which versions of a page are possible, numbers by chance, the files of `data.paths`, and views that are kept for a while, each of which
 * must go on showing what it showed.
 */
const PRELUDE = `
  const started = new Int32Array(data.started), done = new Int32Array(data.done)
  const low = (file, page) => Atomics.load(done, file * data.pages + page)
  const high = (file, page) => Atomics.load(started, file * data.pages + page)
  const isStopped = () => Atomics.load(started, started.length - 1) !== 0
  let state = data.seed >>> 0 || 1
  const random = (n) => { state ^= state << 13; state ^= state >>> 17; state ^= state << 5; return (state >>> 0) % n }
  const files = []
  for (const path of data.paths) files.push(await cache.open(path))
  const counts = { hits: 0, reads: 0, views: 0 }, kept = []
  function keep(view) {
    kept.push([view, Buffer.concat(view.parts)])
    if (kept.length <= 20) return
    const [old, was] = kept.splice(random(kept.length), 1)[0]
    if (!Buffer.concat(old.parts).equals(was)) throw new Error('a view has changed')
    old.dispose()
  }`

const END = `
  for (const [view] of kept) view.dispose()
  for (const file of files) await file.close()
  say(counts)`

/** `body`: the source of what a reader does after {@link PRELUDE}, until `isStopped()`. */
export function stressReaders(cache: PageCache, body: string, options: StressOptions): StressReaders {
  const { paths, pages, seed, data } = options
  const startedBuffer = new SharedArrayBuffer((paths.length * pages + 1) * 4)
  const doneBuffer = new SharedArrayBuffer(paths.length * pages * 4)
  const started = new Int32Array(startedBuffer)
  const readers = [1, 2].map((n) =>
    cacheWorker(cache, PRELUDE + body + END, {
      ...data,
      started: startedBuffer,
      done: doneBuffer,
      paths,
      pages,
      seed: seed + n,
    }),
  )
  const failed = Promise.race(readers.map(({ ended }) => ended)).then(() => {
    throw new Error('a reader has ended')
  })
  failed.catch(() => {})
  return {
    started,
    done: new Int32Array(doneBuffer),
    failed,
    stop: () => void Atomics.store(started, started.length - 1, 1),
    counts: () => Promise.all(readers.map(({ said }) => said() as Promise<ReadCounts>)),
    async ended() {
      await Promise.all(readers.map(({ ended }) => ended))
    },
  }
}
