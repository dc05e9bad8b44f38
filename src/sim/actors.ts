/** What happens to files: each actor goes its way, and the scheduler lets another one go first at every pause. */
import type { SimFile, Volume } from './volume.ts'
import type { World } from './world.ts'

export type Actor = (world: World) => Promise<void>

/** Opens files, reads them in pieces, closes them; several times, not always one after the other. */
export const reader: Actor = async (world) => {
  const { random, daemon, scheduler } = world
  for (let i = random.between(2, 6); i > 0; i--) {
    const file = world.anyFile()
    if (file === undefined) return
    const open = await daemon.open(world.source(file))
    if (open === undefined) continue
    for (let reads = random.between(1, 3); reads > 0; reads--) {
      const offset = random.chance(0.5) ? 0 : random.below(file.sizeBytes + 1)
      await daemon.read(open, offset, random.chance(0.5) ? 2 ** 20 : random.between(1, 3 * 4096))
      if (random.chance(0.3)) await world.wait(random.below(40))
    }
    await scheduler.pause()
    daemon.close(open)
    await world.wait(random.below(20))
  }
}

/** A stretch in which a file counts as open for writing, and in which, where nobody sees that, time waits for the write. */
async function asWriter(world: World, file: SimFile, act: () => Promise<void>): Promise<void> {
  file.writers++
  try {
    await act()
  } finally {
    file.writers--
    world.volume.reap(file)
  }
}

/** ctime is stamped when the write starts; the data lands later, unit by unit. */
async function write(world: World, file: SimFile, change: (volume: Volume, unit: number) => void): Promise<void> {
  const { random, volume, scheduler } = world
  if (volume.unitCount(file) > 0 && random.chance(0.3)) {
    // So fast that nobody sees it under way.
    volume.stampCtime(file)
    change(volume, random.below(volume.unitCount(file)))
    return
  }
  const mark = { startNs: volume.nowNs }
  world.writesSinceNs.add(mark)
  volume.stampCtime(file)
  if (random.chance(0.8)) await world.wait(random.below(25))
  const units = volume.unitCount(file)
  if (units > 0) {
    const first = random.below(units)
    for (let unit = first; unit < Math.min(units, first + random.between(1, 3)); unit++) {
      change(volume, unit)
      await scheduler.pause()
    }
  }
  world.writesSinceNs.delete(mark)
}

/** Writes through the page cache or past it, by descriptors that are closed soon after, or not so soon. */
export const writer: Actor = async (world) => {
  const { random } = world
  for (let i = random.between(1, 4); i > 0; i--) {
    await world.wait(random.below(60))
    const file = world.anyFile()
    if (file === undefined) return
    await asWriter(world, file, async () => {
      if (random.chance(0.5)) await world.wait(random.below(3))
      const isDirect = random.chance(0.4)
      for (let writes = random.between(1, 2); writes > 0; writes--) {
        await write(world, file, (volume, unit) => {
          const value = volume.freshValue()
          if (isDirect) volume.writeDirect(file, unit, value)
          else volume.writeCached(file, unit, value)
        })
      }
      if (random.chance(0.3)) world.volume.flush(file)
    })
  }
}

/** Stores to a shared mapping: the first store to a unit after it was flushed stamps ctime, later ones are not noticed. */
export const mapper: Actor = async (world) => {
  const { random, volume, scheduler } = world
  await world.wait(random.below(80))
  const file = world.anyFile()
  if (file === undefined) return
  await asWriter(world, file, async () => {
    for (let stores = random.between(2, 8); stores > 0; stores--) {
      const units = volume.unitCount(file)
      if (units === 0) return
      const unit = random.below(Math.min(units, 3))
      if (!file.mapped.has(unit)) {
        const mark = { startNs: volume.nowNs }
        world.writesSinceNs.add(mark)
        volume.stampCtime(file)
        file.mapped.add(unit)
        await scheduler.pause()
        world.writesSinceNs.delete(mark)
        // A flush in between has taken the mapping away again: the store faults once more.
        if (!file.mapped.has(unit)) continue
      }
      volume.writeCached(file, unit, volume.freshValue())
      await world.wait(random.below(12))
    }
  })
}

/** Changes sizes (ctime comes after the change), punches holes, allocates in advance (ctime comes before). */
export const resizer: Actor = async (world) => {
  const { random, volume, scheduler } = world
  for (let i = random.between(1, 3); i > 0; i--) {
    await world.wait(random.below(80))
    const file = world.anyFile()
    if (file === undefined) return
    await asWriter(world, file, async () => {
      await scheduler.pause()
      const units = volume.unitCount(file)
      const unit = random.below(units + 2)
      if (random.chance(0.4)) {
        const odd = random.chance(0.5) ? random.below(volume.unitBytes) : 0
        volume.setSize(file, Math.min(12, unit + 1) * volume.unitBytes + odd)
        await world.wait(random.below(20))
        volume.stampCtime(file)
      } else if (random.chance(0.5)) {
        await write(world, file, (_, hole) => volume.punchHole(file, hole))
      } else {
        await write(world, file, (_, hole) => volume.preallocate(file, hole))
      }
    })
  }
}

/**
 * Opens a file while it is being opened, with a write in between that is over before anybody sees it under way: what the first
 * open found may be out of date for the second.
 */
export const contender: Actor = async (world) => {
  const { random, volume, daemon } = world
  for (let i = random.between(2, 6); i > 0; i--) {
    await world.wait(random.below(40))
    const file = world.anyFile()
    if (file === undefined) return
    daemon.forget(file.name)
    world.scheduler.start(() => openAndRead(world, file))
    await world.wait(random.below(80))
    if (file.isGone || volume.unitCount(file) === 0) continue
    volume.stampCtime(file)
    volume.writeDirect(file, random.below(volume.unitCount(file)), volume.freshValue())
    await openAndRead(world, file)
  }
}

async function openAndRead(world: World, file: SimFile): Promise<void> {
  const { daemon } = world
  if (file.isGone) return
  const open = await daemon.open(world.source(file))
  if (open === undefined) return
  await daemon.read(open, 0, file.sizeBytes)
  daemon.close(open)
}

/**
 * The adversary of proofs that look at page after page: has always that page equal to the home which is looked at, and never two
 * at once. Its writes are over before anybody could see them under way.
 */
export const juggler: Actor = async (world) => {
  const { random, volume, storage, daemon } = world
  for (let rounds = random.between(1, 4); rounds > 0; rounds--) {
    await world.wait(random.below(60))
    const props = pickEqualUnits(world)
    if (props === undefined) continue
    const { file, sibling, one, other } = props
    const change = (lost: number, gained: number) => {
      if (file.isGone || sibling.isGone) return
      if (Math.min(volume.unitCount(file), volume.unitCount(sibling)) <= other) return
      volume.stampCtime(file)
      volume.writeDirect(file, lost, volume.freshValue())
      volume.cloneRange(sibling, gained, file, gained, 1)
    }
    change(other, one)
    // Nobody is to think of the file as just changed.
    for (let i = 0; i < 300 && volume.nowNs - file.ctimeNs < 80e6; i++) await world.wait(1)
    daemon.forget(file.name)
    const watch = (looked: SimFile, unit: number) => {
      if (looked !== file) return
      if (unit === one) change(one, other)
      else if (unit === other) change(other, one)
    }
    storage.watchers.add(watch)
    try {
      await openAndRead(world, file)
    } finally {
      storage.watchers.delete(watch)
    }
  }
}

/** Two files with two units, the last ones left out, that a home has at the same places. */
function pickEqualUnits(world: World): { file: SimFile; sibling: SimFile; one: number; other: number } | undefined {
  const { random, volume, files } = world
  if (volume.homes.length === 0 || files.length < 2) return undefined
  const home = random.pick(volume.homes)
  const [file, sibling] = [random.pick(files), random.pick(files)]
  if (file === sibling) return undefined
  const last = Math.min(...[home, file, sibling].map((each) => volume.unitCount(each))) - 1
  const units = [...home.places.keys()].filter((unit) => {
    const block = volume.plainBlock(home, unit)
    return unit < last && block !== undefined && block === volume.plainBlock(sibling, unit)
  })
  if (units.length < 2) return undefined
  const at = random.below(units.length - 1)
  return { file, sibling, one: units[at]!, other: units[at + 1]! }
}

/** Changes of ctime alone. */
export const chmodder: Actor = async (world) => {
  for (let i = world.random.between(1, 3); i > 0; i--) {
    await world.wait(world.random.below(100))
    if (world.files.length > 0) world.volume.stampCtime(world.random.pick(world.files))
  }
}

export const flusher: Actor = async (world) => {
  for (let i = world.random.between(3, 10); i > 0; i--) {
    await world.wait(world.random.below(40))
    if (world.files.length > 0) world.volume.flush(world.random.pick(world.files))
  }
}

/** Clones files and parts of files, and deletes files. */
export const copier: Actor = async (world) => {
  const { random, volume } = world
  for (let i = random.between(1, 4); i > 0; i--) {
    await world.wait(random.below(100))
    const { files } = world
    if (files.length === 0) return
    const file = random.pick(files)
    const choice = random.below(4)
    if (choice === 0 && files.length > 2) {
      volume.unlink(file)
    } else if (choice === 1) {
      const to = random.pick(files)
      const [fromUnits, toUnits] = [volume.unitCount(file), volume.unitCount(to)]
      if (to === file || fromUnits === 0 || toUnits === 0) continue
      const [fromUnit, toUnit] = [random.below(fromUnits), random.below(toUnits)]
      const count = Math.min(random.between(1, 4), fromUnits - fromUnit, toUnits - toUnit)
      // Deleted meanwhile, it is there for who has it open.
      file.opens++
      await asWriter(world, to, async () => {
        volume.stampCtime(to)
        await world.wait(random.below(3))
        // Sizes may have changed, and a unit with an odd end has no equal elsewhere.
        const isWhole = (f: SimFile, end: number) => end * volume.unitBytes <= f.sizeBytes
        if (isWhole(file, fromUnit + count) && isWhole(to, toUnit + count))
          volume.cloneRange(file, fromUnit, to, toUnit, count)
      })
      file.opens--
      volume.reap(file)
    } else if (files.length < 7) {
      volume.clone(file, world.name(), false)
    }
  }
}

/** Makes units with equal contents share a block; homes too, where they can be reached. */
export const deduper: Actor = async (world) => {
  const { random, volume } = world
  for (let i = random.between(5, 25); i > 0; i--) {
    await world.wait(random.below(15))
    const all = [...volume.files]
    if (all.length === 0) return
    const [file, other] = [random.pick(all), random.pick(all)]
    const unit = random.below(volume.unitCount(file) || 1)
    const otherUnit = random.chance(0.7) ? unit : random.below(volume.unitCount(other) || 1)
    volume.dedupe(file, unit, other, otherUnit)
  }
}

/** Defragments files, balances blocks. */
export const mover: Actor = async (world) => {
  const { random, volume } = world
  for (let i = random.between(10, 40); i > 0; i--) {
    await world.wait(random.below(8))
    const all = [...volume.files]
    if (all.length === 0) return
    const file = random.pick(all)
    const unit = random.below(volume.unitCount(file) || 1)
    const block = volume.plainBlock(file, unit)
    if (random.chance(0.02)) volume.compress(file.isHome ? random.pick(world.files) : file, unit)
    else if (random.chance(0.4)) volume.moveUnit(file, unit)
    else if (block !== undefined) volume.relocate(block)
  }
}

export const committer: Actor = async (world) => {
  for (let i = world.random.between(5, 20); i > 0; i--) {
    await world.wait(world.random.below(60))
    world.volume.commit()
  }
}

/**
 * The adversary of proofs by address: makes a home's block and a file's block of other content change places, to and fro. It opens
 * the file, watches whose extents are read, and takes care that either is found at the same address when it is looked at.
 */
export const swapper: Actor = async (world) => {
  const { random, volume, daemon } = world
  for (let rounds = random.between(3, 10); rounds > 0; rounds--) {
    await world.wait(random.below(30))
    const homes = volume.homes
    if (homes.length === 0) continue
    const home = random.pick(homes)
    const homeUnit = random.below(volume.unitCount(home) || 1)
    const homeBlock = () => volume.plainBlock(home, homeUnit)
    const place = homeBlock()?.address
    if (place === undefined) continue
    const [file, unit] = pickShared(world, volume.value(home, homeUnit)) ?? []
    if (file === undefined || unit === undefined) continue
    const fileBlock = () => volume.plainBlock(file, unit)
    const goTo = (block: ReturnType<typeof fileBlock>, address?: number) => {
      volume.commit()
      return block !== undefined && block.refs > 0 && volume.relocate(block, address)
    }
    // The home leaves the place where it is known to be, the file comes, and is opened.
    if (!goTo(homeBlock()) || !goTo(fileBlock(), place)) continue
    daemon.forget(file.name)
    let isOpening = true
    world.scheduler.start(async () => {
      const open = await daemon.open(world.source(file))
      isOpening = false
      if (open === undefined) return
      await daemon.read(open, 0, file.sizeBytes)
      daemon.close(open)
    })
    while (isOpening) {
      await looked(world, file, () => isOpening)
      if (fileBlock()?.address === place) goTo(fileBlock())
      goTo(homeBlock(), place)
      await looked(world, home, () => isOpening)
      if (homeBlock()?.address === place) goTo(homeBlock())
      goTo(fileBlock(), place)
    }
  }
}

/** Waits until the extents of a file have been read, or until `goesOn` is false, or for long enough. */
async function looked({ storage, scheduler }: World, file: SimFile, goesOn: () => boolean): Promise<void> {
  const looks = storage.looks.get(file)
  for (let i = 0; i < 300 && goesOn() && storage.looks.get(file) === looks; i++) await scheduler.pause()
}

/** A unit of a file whose block is shared and whose content is not `value`. */
function pickShared({ random, volume, files }: World, value: number): [SimFile, number] | undefined {
  const candidates = files.flatMap((file) =>
    file.places.flatMap((_, unit): [SimFile, number][] => {
      const block = volume.plainBlock(file, unit)
      return block !== undefined && block.refs > 1 && block.parts[0] !== value ? [[file, unit]] : []
    }),
  )
  return candidates.length === 0 ? undefined : random.pick(candidates)
}

export const sweeper: Actor = async (world) => {
  for (let i = world.random.between(2, 8); i > 0; i--) {
    await world.wait(world.random.below(80))
    await world.families.sweep()
    if (world.random.chance(0.2)) await world.families.pinnedBytes()
  }
}
