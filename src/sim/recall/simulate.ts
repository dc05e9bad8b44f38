/** One run of the simulation of recall: a seed in, what happened out; throws with the seed where a promise of docs/exclusive.md does not hold. */
import { RECALL_MS } from '../../exclusive/messages.ts'
import { Random } from '../random.ts'
import { SimCache } from './sim-cache.ts'
import { SimProcess } from './sim-process.ts'
import { type Counts, World } from './world.ts'

export interface RecallOutcome extends Counts {
  readonly seed: number
  readonly steps: number
}

/** A promise that did not hold, with how to see it again. */
class RecallSimulationFailure extends Error {
  constructor(seed: number, world: World, cause: unknown) {
    const reason = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
    super(
      `seed ${seed} (recall) fails at step ${world.scheduler.step}: ${reason}\nreplay: npm run sim -- --recall --seed ${seed}`,
      { cause },
    )
  }
}

export async function simulateRecall(seed: number): Promise<RecallOutcome> {
  const world = new World(new Random(seed))
  try {
    const { random } = world
    let pid = 0
    const caches = Array.from({ length: random.between(1, 2) }, () => new SimCache(world, ++pid))
    const commands = Array.from({ length: random.between(1, 2) }, () => new SimProcess(world, ++pid))
    const programs = new SimProcess(world, ++pid)
    for (const cache of caches) cache.run([() => useCache(cache), () => useCache(cache), () => holdInCache(cache)])
    for (const command of commands) command.run([() => holdAsCommand(command)])
    programs.run([() => useMount(programs), () => useMount(programs)])
    meetFate(world, caches, commands)
    await world.run()
    world.mount.checkEnd()
    for (const file of world.files) file.check()
    return { seed, steps: world.scheduler.step, ...world.counts }
  } catch (error) {
    throw new RecallSimulationFailure(seed, world, error)
  }
}

/** A thread that reads and writes through an attached cache. */
async function useCache(cache: SimCache): Promise<void> {
  const { random, files } = cache.world
  for (let opens = random.between(1, 4); opens > 0; opens--) {
    const file = random.pick(files)
    await cache.use(file, async () => {
      for (let i = random.between(1, 25); i > 0; i--) {
        await cache.pause()
        const page = random.below(file.pages.length)
        if (random.chance(0.85)) await cache.read(file, page, random.chance(0.9))
        else await cache.write(file, page, random.chance(0.8))
      }
    })
    await cache.pause()
  }
}

/** A thread that holds ranges, as holders of one process. */
async function holdInCache(cache: SimCache): Promise<void> {
  const { random, files } = cache.world
  for (let i = random.below(3); i > 0; i--) {
    const file = random.pick(files)
    await cache.use(file, () => cache.hold(file, random.pick(['x', 'y'])))
  }
}

async function holdAsCommand(command: SimProcess): Promise<void> {
  const { random, files } = command.world
  await command.client.ready().catch(() => {})
  for (let i = random.between(1, 5); i > 0 && command.client.isOpen; i--) {
    const file = random.pick(files)
    if (random.chance(0.15)) await command.revoke(file)
    else await command.hold(file, undefined)
    await command.pause()
  }
}

/** A program that knows nothing of caches and grants. */
async function useMount(program: SimProcess): Promise<void> {
  const { random, files, truth } = program.world
  for (let i = random.between(3, 10); i > 0; i--) {
    await program.pause()
    const file = random.pick(files)
    const from = random.below(file.pages.length)
    const isInterrupted = random.chance(0.1)
    const writes = random.chance(0.4)
    const to = writes ? from + 1 : from + 1 + random.below(file.pages.length - from)
    const least = truth.begin(file.key)
    const wanted = { file, from, to, isImpatient: random.chance(0.2), ...(writes && { value: truth.freshValue() }) }
    try {
      const pages = await program.ask(wanted, isInterrupted)
      for (const [j, page] of pages.entries()) truth.checkPage(file.key, from + j, page, least)
    } catch (error) {
      const { code } = error as { code?: string }
      if (!(wanted.isImpatient ? ['EAGAIN'] : ['EINTR', 'EDEADLK']).includes(code ?? '')) throw error
    }
  }
}

/** Processes are stopped for a while, perhaps for longer than the mount waits; killed; and cut off, which they hear of late. Best when somebody has just been granted something. */
function meetFate(world: World, caches: readonly SimProcess[], commands: readonly SimProcess[]): void {
  const { random, counts } = world
  /** When all others are done nobody is left to suffer. */
  const wait = async (stepsMax: number, isOver = () => false) => {
    for (let steps = random.below(stepsMax); steps > 0 && world.busyCount > 1 && !isOver(); steps--) await world.pause()
  }
  world.start('fate', async () => {
    for (let i = random.below(7); i > 0; i--) {
      await wait(60)
      const { grants } = counts
      if (random.chance(0.6)) await wait(200, () => counts.grants > grants)
      if (random.chance(0.1)) {
        counts.deaths++
        random.pick([...caches, ...commands]).kill()
        continue
      }
      const process = random.chance(0.8) ? random.pick(caches) : random.pick(commands)
      process.isStopped = random.chance(0.8)
      if (random.chance(0.4)) process.cutOff()
      for (let silences = random.below(3); silences > 0; silences--) {
        await wait(60)
        world.leap(RECALL_MS)
      }
      await wait(60)
      process.isStopped = false
    }
  })
}
