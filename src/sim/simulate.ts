/** One run of the simulation: a seed in, what happened out; throws with the seed when a property does not hold. */
import { PAGE_BYTES } from '../cache/entry.ts'
import { OWN, type RunMap } from '../cache/run-map.ts'
import type { FamiliesStatistics } from '../homes/families.ts'
import {
  type Actor,
  chmodder,
  committer,
  contender,
  copier,
  deduper,
  flusher,
  juggler,
  mapper,
  mover,
  reader,
  resizer,
  swapper,
  sweeper,
  writer,
} from './actors.ts'
import { checkProofModel } from './proof-model.ts'
import type { SimFile } from './volume.ts'
import { World } from './world.ts'

/** Actors of every run, and how many of each at most. */
const CAST: readonly (readonly [Actor, number])[] = [
  [reader, 5],
  [writer, 3],
  [mapper, 1],
  [resizer, 1],
  [contender, 1],
  [juggler, 1],
  [chmodder, 1],
  [flusher, 1],
  [copier, 2],
  [deduper, 1],
  [mover, 2],
  [committer, 1],
  [swapper, 2],
  [sweeper, 2],
]

export interface Outcome {
  readonly seed: number
  readonly steps: number
  readonly description: string
  readonly unitsRead: number
  readonly unitsFromHomes: number
  readonly opens: {
    readonly private: number
    readonly pristine: number
    readonly diverged: number
    readonly remembered: number
  }
  readonly statistics: FamiliesStatistics
}

/** A property that did not hold, with how to see it again. */
class SimulationFailure extends Error {
  constructor(seed: number, world: World, cause: unknown) {
    const reason = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
    super(
      `seed ${seed} (${world.description}) fails at step ${world.scheduler.step}: ${reason}\n` +
        `${world.volume}\nreplay: npm run sim -- --seed ${seed}`,
      { cause },
    )
  }
}

export async function simulate(seed: number): Promise<Outcome> {
  const world = new World(seed)
  const { scheduler, random, families, daemon } = world
  try {
    for (let i = 0; i < 5; i++) checkProofModel(random)
    // Not every run has everything: some interleavings need quiet.
    for (const [actor, most] of CAST) {
      const count = actor === reader ? random.between(2, most) : random.below(most + 1)
      for (let i = 0; i < count; i++) scheduler.start(() => actor(world))
    }
    await scheduler.run(() => world.tick())
    world.checkInvariants()
    const statistics = families.statistics()
    await checkCompleteness(world)
    await checkSharing(world)
    await checkEnd(world)
    const { unitsRead, unitsFromHomes, opens } = daemon
    return { seed, steps: scheduler.step, description: world.description, unitsRead, unitsFromHomes, opens, statistics }
  } catch (error) {
    throw new SimulationFailure(seed, world, error)
  }
}

/** Peace: no faults, nothing young, no block moves any more, and the sweep has seen where all homes are. */
async function settle(world: World): Promise<void> {
  const { scheduler, families, options } = world
  world.storage.faults = { ...world.storage.faults, extents: 0, clone: 0 }
  for (let sweeps = 2 * options.maxHomes; sweeps > 0; sweeps--) {
    // Homes are to stay for the checks: only what has no second file goes.
    for (const home of families.homes()) families.touched(home.number, home.generation)
    world.letTimePass(Math.min(options.recheckMs, options.idleMs - 1))
    scheduler.start(() => families.sweep())
    await scheduler.run(() => world.tick())
  }
  world.letTimePass(1000)
}

/** In peace, every page at an address that a home has comes from a home. */
async function checkCompleteness(world: World): Promise<void> {
  const { volume, scheduler, families, options } = world
  if (volume.unitBytes !== PAGE_BYTES || options.maxExtents < 10) return
  let homesDropped = Number.NaN
  for (const file of world.files) {
    // Homes that are being dropped are no actor's affair.
    while (families.statistics().homes > families.homes().length) {
      scheduler.start(() => world.wait(1))
      await scheduler.run(() => world.tick())
    }
    // An address that two homes have is known as that of one of them, and when that one goes, not at all until the sweep.
    if (families.statistics().homesDropped !== homesDropped) await settle(world)
    homesDropped = families.statistics().homesDropped
    const owned = new Set<number>()
    for (const home of families.homes()) {
      const wholePages = Math.floor(home.size / PAGE_BYTES)
      for (let page = 0; page < wholePages; page++) owned.add(volume.plainBlock(home.file, page)?.address ?? 0)
    }
    owned.delete(0)
    const wholePages = Math.floor(file.sizeBytes / PAGE_BYTES)
    const expected = Array.from({ length: wholePages }, (_, page) => page).filter((page) =>
      owned.has(volume.plainBlock(file, page)?.address ?? 0),
    )
    let missing = 0
    let served = ''
    scheduler.start(async () => {
      const serving = await families.serve(world.source(file))
      if (serving.kind === 'pristine') return
      served = serving.kind === 'private' ? serving.reason : `${serving.map}\n${serving.homes.join('\n')}`
      if (serving.kind === 'private')
        missing = expected.length * PAGE_BYTES >= options.minShareBytes ? expected.length : 0
      else missing = expected.filter((page) => isOwn(serving.map, page)).length
    })
    await scheduler.run(() => world.tick())
    if (missing > 0)
      throw new Error(`${missing} pages of ${file.name} are in homes, but not served from there: ${served}`)
  }
}

function isOwn(map: RunMap, page: number): boolean {
  map.seek(page * PAGE_BYTES)
  return map.home === OWN
}

/** In peace, clones that are opened at the same time come to share one home. */
async function checkSharing(world: World): Promise<void> {
  const { volume, scheduler, families, options } = world
  if (options.maxExtents < 10) return
  await settle(world)
  const units = (10 * PAGE_BYTES) / volume.unitBytes
  const original = volume.create(world.name(), units)
  for (let unit = 0; unit < units; unit++) if (unit !== 3) volume.writeDirect(original, unit, volume.freshValue())
  if (world.random.chance(0.5)) volume.setSize(original, units * volume.unitBytes - 1000)
  const clones = [original, volume.clone(original, world.name(), false), volume.clone(original, world.name(), false)]
  world.letTimePass(options.idleMs + 1000)
  await scheduler.run(() => world.tick())
  scheduler.start(() => families.sweep())
  await scheduler.run(() => world.tick())

  await expectOneHome(world, clones)
  if (volume.promises.homesStay) return
  // The home's blocks move away: it is of no use any more, and must not stand in the way.
  for (const home of volume.homes) for (const unit of home.places.keys()) volume.moveUnit(home, unit)
  await expectOneHome(world, clones)
}

async function expectOneHome(world: World, files: SimFile[]): Promise<void> {
  const { scheduler, families } = world
  const found = new Set<string>()
  for (const file of files) {
    scheduler.start(async () => {
      const serving = await families.serve(world.source(file))
      found.add(
        serving.kind === 'pristine'
          ? `home ${serving.home.number}`
          : `${serving.kind}: ${serving.kind === 'private' && serving.reason}`,
      )
    })
  }
  await scheduler.run(() => world.tick())
  if (found.size !== 1 || ![...found][0]!.startsWith('home '))
    throw new Error(`equal files were served by ${[...found].join(', ')}`)
}

/** When the files are gone, and when nobody has used anything for long, no home is left. */
async function checkEnd(world: World): Promise<void> {
  const { volume, scheduler, families, random } = world
  if (random.chance(0.5)) for (const file of world.files) volume.unlink(file)
  world.letTimePass(world.options.idleMs)
  scheduler.start(() => families.sweep())
  await scheduler.run(() => world.tick())
  world.checkInvariants()
  if (volume.homes.length > 0) throw new Error(`homes are left: ${volume.homes.map((home) => home.name).join(', ')}`)
  const { homes, members } = families.statistics()
  if (homes + members > 0) throw new Error(`${homes} homes and ${members} members are remembered, none exists`)
  if (await isLate(families.close())) throw new Error('families do not close')
}

async function isLate(closing: Promise<void>): Promise<boolean> {
  return await Promise.race([closing.then(() => false), new Promise<boolean>((late) => setTimeout(late, 1000, true))])
}
