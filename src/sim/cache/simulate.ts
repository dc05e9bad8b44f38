/** One run of the simulation of the page cache: a seed in, what happened out; throws with the seed where a promise does not hold. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { NO_FRAME } from '../../cache/frames.ts'
import { PAGES_MAX } from '../../layout/mapping-record.ts'
import { NODE_BYTES } from '../../layout/node.ts'
import { FileLayout } from '../../library/layout.ts'
import { Machine } from './machine.ts'
import { SimKeeper } from './sim-keeper.ts'
import { type Counts, World } from './world.ts'

const OPERATIONS = 150
/** Of readers, between two of the keeper's operations; more come within them. */
const ACCESSES_MAX = 60
/** By then everybody has come to an end. */
const END_TURNS = 20_000

export interface CacheOutcome extends Counts {
  readonly seed: number
  readonly description: string
  readonly moments: number
  readonly evicted: number
  readonly unpublished: number
  readonly replicas: number
  readonly collapsed: number
  readonly promotions: number
  readonly demotions: number
  /** Looks at bytes on a device. */
  readonly directLooks: number
}

/** A promise that did not hold, with how to see it again. */
class CacheSimulationFailure extends Error {
  constructor(seed: number, world: World | undefined, cause: unknown) {
    const reason = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
    super(
      `seed ${seed} (${world?.description}) fails at step ${world?.truth.now}: ${reason}\nreplay: npm run sim -- --cache --seed ${seed}`,
      { cause },
    )
  }
}

export function simulateCache(seed: number): CacheOutcome {
  const machine = new Machine()
  let world: World | undefined
  try {
    return machine.run(() => {
      world = new World(seed, machine)
      const keeper = new SimKeeper(world)
      machine.executor = keeper
      for (let number = 0; number < world.threads.length; number++) world.startReader(number)
      for (let i = 0; i < OPERATIONS; i++) {
        keeper.step()
        for (let accesses = world.random.below(ACCESSES_MAX); accesses > 0; ) accesses -= world.stepReader()
      }
      endAll(world, keeper)
      checkCached(world)
      checkEnd(world, keeper)
      const { truth, description, counts, pages } = world
      const { evicted, unpublished } = pages.counts
      const { made: replicas = 0, collapsed = 0 } = pages.replicas?.counts ?? {}
      const { promotions = 0, demotions = 0 } = pages.direct?.counts ?? {}
      const device = { promotions, demotions, directLooks: world.direct?.device.looks ?? 0 }
      return { seed, description, moments: truth.now, evicted, unpublished, replicas, collapsed, ...device, ...counts }
    })
  } catch (error) {
    throw new CacheSimulationFailure(seed, world, error)
  }
}

/** Readers come to their end, or die and are buried; loads too. */
function endAll(world: World, keeper: SimKeeper): void {
  world.isEnding = true
  for (let turn = 0; world.threads.some((thread) => thread !== undefined); turn++) {
    if (turn > END_TURNS) throw new Error('a reader does not come to an end')
    world.grants.pass()
    keeper.answer()
    if (world.hasGrants && world.random.chance(0.3)) keeper.endSomething()
    world.stepReader()
    keeper.bury()
    if (turn % 50 === 0) keeper.forget()
  }
  keeper.finish()
  world.keeperProcessor.flush()
}

/** In peace, what is cached is found. */
function checkCached({ files, pages, ownReader, nodes, isByNode }: World): void {
  for (const file of files)
    for (let node = 0; node < (isByNode ? nodes.count : 1); node++) {
      if (file.mapping < 0) continue
      const mapping = pages.mappings.on(file.mapping, node)
      if (ownReader.lookup.layoutOf(mapping) !== file.layout.version)
        throw new Error(`nobody on node ${node} reads ${file.name} in the way that it is served`)
      const layout = new FileLayout({ ...file.layout, node })
      for (const page of file.pages)
        if (pages.isCached(mapping, page) && ownReader.copy(layout, page * PAGE_BYTES, new Uint8Array(2), 0, 2) !== 2)
          throw new Error(`page ${page} of ${file.name} is cached, and not found`)
    }
}

/** Nothing is held when nobody holds it: all frames can be had again. */
function checkEnd(world: World, keeper: SimKeeper): void {
  const { files, homes, pages, merged, cache } = world
  for (const { mapping } of [...files, ...homes]) if (mapping >= 0) pages.drop(mapping, 0, PAGES_MAX)
  const { frames, nodes, threads } = cache.sizes
  pages.resize(frames * PAGE_BYTES + nodes * NODE_BYTES + (merged?.indexBytes ?? 0))
  keeper.check()
  if (pages.frames.used > 0) throw new Error(`${pages.frames.used} frames are in use, and hold nothing`)
  // What the dead have left would be that of who comes after them.
  for (let number = 0; number < threads; number++) pages.pinned.attach(number)
  for (let i = 0; i < frames; i++)
    if (pages.reserve(0, i) === NO_FRAME) throw new Error(`only ${i} of ${frames} frames can be had`)
}
