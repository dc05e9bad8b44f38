/**
 * Lists of directories that the kernel keeps, against a model of the kernel (fs/fuse/readdir.c): whatever overlaps, who opens a directory gets no entry of a state older than the one it had then.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InodeKey, InodeTable } from '../../../src/daemon/inode-table.ts'
import { type DirectoryStat, Listings } from '../../../src/daemon/listings.ts'
import { FOPEN } from '../../../src/fuse/protocol.ts'
import { STATX_ATTR } from '../../../src/linux/statx.ts'

const SLOT = 1
/** Replies that a list comes in; each fills a page of the kernel's. */
const BATCHES = 2
/** The clock that stamps files moves in such steps. */
const TICK_MS = 10

class Directory {
  /** Counts changes: what the directory has is told by it. */
  version = 0
  isEncrypted = false
  now = 1000
  ctime = 0

  change(): void {
    this.version++
    this.ctime = this.now - (this.now % TICK_MS) + 0.5
  }

  get stat(): DirectoryStat {
    const seconds = Math.floor(this.ctime / 1000)
    return {
      ofFd: () => 0,
      attributesLow: this.isEncrypted ? STATX_ATTR.ENCRYPTED : 0,
      ctimeSec: seconds,
      ctimeSecLow: seconds,
      ctimeNsec: Math.round((this.ctime % 1000) * 1e6),
    }
  }
}

/** What the kernel has of the list. */
class Kept {
  /** By page: the version that its entries are of; undefined: not in memory. */
  pages: (number | undefined)[] = []
  isComplete = false
  /** Counts changes through the mount, now and when the list was begun. */
  changes = 0
  begunAt = 0

  drop(): void {
    this.pages.fill(undefined)
  }

  reset(): void {
    this.pages = []
    this.isComplete = false
  }

  get whole(): number[] | undefined {
    if (!this.isComplete) return undefined
    if (this.changes === this.begunAt && this.pages.every((page) => page !== undefined)) return this.pages as number[]
    this.reset()
    return undefined
  }
}

interface World {
  readonly directory: Directory
  readonly kept: Kept
  readonly inodes: InodeTable
  readonly listings: Listings
  answersFromKept: number
}

function newWorld(): World {
  const inodes = new InodeTable(InodeTable.allocate(4))
  const key = new InodeKey()
  for (key.inoLow = 1; key.inoLow < 3; key.inoLow++) inodes.acquire(key, -1, 0, 0)
  const directory = new Directory()
  return {
    directory,
    kept: new Kept(),
    inodes,
    listings: new Listings(inodes, () => directory.now),
    answersFromKept: 0,
  }
}

/** A client that opens the directory and lists it, `passes` times: it rewinds. Stops where something else can come in between. */
function* listing(world: World, mayKeep: boolean, passes = 1): Generator<void, void> {
  const { directory, kept, inodes, listings } = world
  const oldest = directory.version
  const see = (version: number) => {
    if (version < oldest) throw new Error(`entries of ${version} where the directory was at ${oldest} already`)
  }
  yield
  const flags = listings.open(SLOT, 0, directory.stat, mayKeep)
  // The answer is under way.
  yield
  if ((flags & FOPEN.KEEP_CACHE) === 0) kept.drop()
  yield
  const keeps = (flags & FOPEN.CACHE_DIR) !== 0
  for (let pass = 0; pass < passes; pass++) {
    const whole = keeps ? kept.whole : undefined
    if (whole !== undefined) {
      world.answersFromKept++
      whole.forEach(see)
      yield
      continue
    }
    if (keeps && kept.pages.length === 0) kept.begunAt = kept.changes
    for (let batch = 0; batch < BATCHES; batch++) {
      if (batch === 0) listings.begun(SLOT)
      const { version } = directory
      yield
      see(version)
      if (keeps && !kept.isComplete && kept.pages.length === batch) kept.pages.push(version)
      yield
    }
    if (keeps && kept.pages.length === BATCHES) kept.isComplete = true
  }
  yield
  inodes.countOpen(SLOT, -1)
}

/** Runs what `choices` say, one step each. */
function run(world: World, choices: readonly number[]): void {
  const { directory, kept } = world
  const clients: Generator<void, void>[] = []
  for (const choice of choices) {
    if (choice >= 16) {
      // Most steps are of clients.
      const client = clients[choice % Math.max(1, clients.length)]
      if (client?.next().done === true) clients.splice(clients.indexOf(client), 1)
    } else if (choice < 5) {
      if (clients.length < 3) clients.push(listing(world, choice > 0, choice > 2 ? 2 : 1))
    } else if (choice < 8) directory.change()
    else if (choice === 8) {
      directory.change()
      kept.changes++
    } else directory.now += choice < 12 ? 3 : 25
  }
}

describe('a list that the kernel keeps', () => {
  test('is never older than the directory was when it was opened', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 63 }), { maxLength: 300, size: 'max' }), (choices) =>
        run(newWorld(), choices),
      ),
      { numRuns: 5000 },
    )
  })

  test('is used by all who come later, until something changes', () => {
    const world = newWorld()
    const listOnce = (mayKeep = true) => {
      const before = world.answersFromKept
      for (const _ of listing(world, mayKeep));
      return world.answersFromKept > before
    }
    world.directory.change()
    // The next change could have the same ctime.
    expect([listOnce(), listOnce()]).toEqual([false, false])
    world.directory.now += 100
    expect([listOnce(), listOnce(), listOnce()]).toEqual([false, true, true])
    world.directory.change()
    world.directory.now += 100
    expect([listOnce(), listOnce()]).toEqual([false, true])
    // Who wants more than names gets no list that was kept, and leaves it for others.
    expect([listOnce(false), listOnce()]).toEqual([false, true])
  })

  test('is not kept of what is encrypted: its names change with its key', () => {
    const world = newWorld()
    world.directory.isEncrypted = true
    for (let i = 0; i < 3; i++) for (const _ of listing(world, true));
    expect(world.answersFromKept).toBe(0)
  })
})
