/** Looks up pages that are in memory, at random and without a copy: in a cache and in a Map of as many, in turns. */
import type { LookUpTask } from '../client.ts'
import { emptyCache, fill, pageFinder } from './full-cache.ts'
import { answer, inTurns, randomBelow, task } from './support.ts'

const { pages, rounds } = task<LookUpTask>()
const { memory, keeper } = emptyCache(pages, 1)
const mapping = keeper.mappings.create()
fill(keeper, mapping, pages)
const find = pageFinder(memory, mapping)

const map = new Map<number, Buffer>()
const bytes = Buffer.alloc(4096)
for (let page = 0; page < pages; page++) map.set(page, bytes.subarray(0))
function findInMap(order: Int32Array): number {
  let found = 0
  for (let i = 0; i < order.length; i++) if (map.get(order[i]!) !== undefined) found++
  return found
}

const order = randomBelow(pages, 1 << 20)
answer(
  await inTurns(rounds, {
    samepage: () => find(order),
    'Map.get': () => findInMap(order),
  }),
)
