/**
 * Grants of one page: how long it takes to get one and to publish it when nobody else wants it, how long from one holder to the next when eight wait, and what a thread reads of other pages
 * meanwhile.
 */
import { once } from 'node:events'
import fs from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { PageCache } from '../../src/library/page-cache.ts'
import type { PageCacheHandle } from '../../src/library/page-cache-options.ts'
import type { GrantsAnswer, GrantsTask } from '../client.ts'
import { answer, randomBelow, task } from './support.ts'

const PAGE_BYTES = 4096
const WAITERS = 8
/** Pages that the other thread reads; those that are granted lie behind. */
const PAGES = 1024
/** In a round: of pages in memory, through a mount. */
const HITS = 200_000
const REQUESTS = 20_000

/** What the other thread reads, and how: through a cache, or from the file. */
interface Reader {
  readonly handle: PageCacheHandle | undefined
  readonly path: string
  readonly reads: number
}

if (isMainThread) {
  const { mountpoint, paths, grants, rounds } = task<GrantsTask>()
  const options = { memory: '64MiB', yieldUnderPressure: false }
  await using cache = await (mountpoint === undefined
    ? PageCache.create(options)
    : PageCache.attach(mountpoint, options))
  const files = await Promise.all(paths.map((path) => cache.open(path, 'r+')))
  const [file, other] = [files[0]!, files[1]!]
  await file.advise('willneed')

  /** One page after the other, behind those that are read. */
  const positions = Array.from({ length: 64 }, (_, i) => (PAGES + i) * PAGE_BYTES)
  const times = { acquired: [] as number[], published: [] as number[], handedOver: [] as number[] }
  for (let i = 0; i < grants; i++) {
    const began = performance.now()
    const grant = await file.exclusive({ position: positions[i % 64]!, length: PAGE_BYTES })
    const granted = performance.now()
    grant.bytes[0] = i
    await grant.publish()
    times.acquired.push((granted - began) * 1e6)
    times.published.push((performance.now() - granted) * 1e6)
  }

  let givenUpAt = 0
  const contend = async (): Promise<void> => {
    for (let i = 0; i < grants / WAITERS; i++) {
      const grant = await file.exclusive({ position: positions[0]!, length: PAGE_BYTES })
      if (givenUpAt > 0) times.handedOver.push((performance.now() - givenUpAt) * 1e6)
      // Others come to wait.
      await new Promise(setImmediate)
      givenUpAt = performance.now()
      await grant.abandon()
    }
  }
  await Promise.all(Array.from({ length: WAITERS + 1 }, contend))

  const handle = mountpoint === undefined ? cache.handle() : undefined
  const reads = mountpoint === undefined ? HITS : REQUESTS
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { handle, path: paths[0]!, reads } satisfies Reader,
    transferList: [...(handle?.transferList ?? [])],
  })
  await once(worker, 'message')
  // The worker's open has found the file changed: all of it was forgotten.
  await file.advise('willneed')
  /** The reader's rate while grants of pages of `granted` come and go. */
  const readBeside = async (granted: typeof file): Promise<number> => {
    let isDone = false
    worker.postMessage('read')
    const seconds = once(worker, 'message').then(([value]) => {
      isDone = true
      return value as number
    })
    for (let i = 0; !isDone; i++) {
      const grant = await granted.exclusive({ position: positions[i % 64]!, length: PAGE_BYTES })
      await grant.publish()
      // Messages are heard of.
      if (i % 16 === 0) await new Promise(setImmediate)
    }
    return reads / (await seconds)
  }
  const sameFile: number[] = []
  const anotherFile: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const [same, another] = [await readBeside(file), await readBeside(other)]
    if (round === 0) continue
    sameFile.push(same)
    anotherFile.push(another)
  }
  answer({ ...times, sameFile, anotherFile } satisfies GrantsAnswer)
  await worker.terminate()
  for (const it of files) await it.close()
} else {
  const { handle, path, reads } = workerData as Reader
  const read = await openReader(handle, path)
  const buffer = Buffer.alloc(PAGE_BYTES)
  const pages = randomBelow(PAGES, reads)
  parentPort!.on('message', () => {
    const began = performance.now()
    for (let i = 0; i < reads; i++) read(buffer, pages[i]! * PAGE_BYTES)
    parentPort!.postMessage((performance.now() - began) / 1000)
  })
  parentPort!.postMessage('ready')
}

async function openReader(
  handle: PageCacheHandle | undefined,
  path: string,
): Promise<(buffer: Buffer, position: number) => void> {
  if (handle !== undefined) {
    const file = await (await PageCache.attach(handle)).open(path)
    return (buffer, position) => file.readSync(buffer, { position })
  }
  const fd = fs.openSync(path, 'r')
  return (buffer, position) => fs.readSync(fd, buffer, 0, PAGE_BYTES, position)
}
