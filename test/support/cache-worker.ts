/** Threads that are attached to a cache of this one. They run dist/, as users do, and so does who makes a cache for them. */
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { PageCache } from '../../src/index.ts'
import { ROOT } from './sources.ts'

/** The address of the compiled library. */
export const LIBRARY = pathToFileURL(path.join(process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist'), 'index.js')).href

/** The compiled library. */
export async function builtLibrary(): Promise<typeof import('../../src/index.ts')> {
  return import(LIBRARY)
}

export interface CacheWorker {
  readonly worker: Worker
  /** Next thing that the thread says; rejects when it fails, or ends without another word. */
  said(): Promise<unknown>
  /** When it has ended; rejects with its error. */
  readonly ended: Promise<void>
}

/**
 * Starts a thread. `body` is the source of an async function of (cache, data, say, library), which runs once it is attached; `say(value)` tells this one something. The
 * handle comes by workerData, or with `byMessage` later.
 */
export function cacheWorker(cache: PageCache, body: string, data: unknown = {}, byMessage = false): CacheWorker {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    async function main() {
      const library = await import('${LIBRARY}')
      const handle = workerData.handle ?? await new Promise((resolve) => parentPort.once('message', resolve))
      const cache = await library.PageCache.attach(handle)
      await (async (cache, data, say, library) => { ${body} })(cache, workerData.data, (value) => parentPort.postMessage(value), library)
      await cache.close()
    }
    main().catch((error) => setImmediate(() => { throw error }))`
  const handle = cache.handle()
  const worker = byMessage
    ? new Worker(code, { eval: true, workerData: { data } })
    : new Worker(code, { eval: true, workerData: { data, handle }, transferList: [...handle.transferList] })
  if (byMessage) worker.postMessage(handle, [...handle.transferList])
  const words: unknown[] = []
  let waiting: { resolve(value: unknown): void; reject(error: unknown): void } | undefined
  let failure: unknown
  worker.on('message', (value) => {
    if (waiting === undefined) words.push(value)
    else waiting.resolve(value)
    waiting = undefined
  })
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('error', (error) => {
      failure = error
      waiting?.reject(error)
      reject(error)
    })
    worker.once('exit', () => {
      failure ??= new Error('the thread has ended')
      waiting?.reject(failure)
      resolve()
    })
  })
  // Whoever waits for words hears of it, too.
  ended.catch(() => {})
  const said = () =>
    new Promise<unknown>((resolve, reject) => {
      if (words.length > 0) resolve(words.shift())
      else if (failure !== undefined) reject(failure)
      else waiting = { resolve, reject }
    })
  return { worker, said, ended }
}
