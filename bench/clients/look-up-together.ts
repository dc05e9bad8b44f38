/** Looks up pages that are in memory: one thread by itself, and two of one cache at once, in turns. */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import type { CacheMemory } from '../../src/cache/memory.ts'
import type { LookUpTask } from '../client.ts'
import { emptyCache, fill, pageFinder } from './full-cache.ts'
import { answer, inTurns, randomBelow, task } from './support.ts'

interface Shared {
  readonly memory: CacheMemory
  readonly mapping: number
  readonly pages: number
  readonly thread: number
}

const PER_ROUND = 1 << 21

if (isMainThread) {
  const { pages, rounds } = task<LookUpTask>()
  const { memory, keeper } = emptyCache(pages, 1)
  const mapping = keeper.mappings.create()
  fill(keeper, mapping, pages)
  const threads = [1, 2].map(
    (thread) =>
      new Worker(new URL(import.meta.url), { workerData: { memory, mapping, pages, thread } satisfies Shared }),
  )
  const findOn = async (thread: Worker): Promise<number> => {
    thread.postMessage('find')
    return (await once(thread, 'message'))[0]
  }
  const rates = await inTurns(rounds, {
    samepage: async () => (await Promise.all(threads.map(findOn))).reduce((sum, count) => sum + count),
    'one thread': () => findOn(threads[0]!),
  })
  answer(rates)
  for (const thread of threads) await thread.terminate()
} else {
  const { memory, mapping, pages, thread } = workerData as Shared
  const find = pageFinder(memory, mapping)
  const order = randomBelow(pages, PER_ROUND, thread)
  parentPort!.on('message', () => parentPort!.postMessage(find(order)))
}
