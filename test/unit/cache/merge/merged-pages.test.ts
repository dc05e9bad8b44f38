/**
 * Merging against a model: what each page holds. Readers find what the model has, pages of one domain with equal content come to one frame, and those of two domains
 * never do.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../../src/cache/entry.ts'
import { NO_FRAME } from '../../../../src/cache/frames.ts'
import { FOUND, Lookup } from '../../../../src/cache/lookup.ts'
import { allocateMemory } from '../../../../src/cache/memory.ts'
import { MergedPages } from '../../../../src/cache/merge/merged-pages.ts'
import { PageKeeper } from '../../../../src/cache/page-keeper.ts'
import { Pins } from '../../../../src/cache/pins.ts'
import { ReuseClock } from '../../../../src/cache/reclaim/reuse-clock.ts'
import { PAGES_MAX } from '../../../../src/layout/mapping-record.ts'

const FRAMES = 40
const MAPPINGS = 4
/** Mappings 0 and 1 are of one domain. */
const DOMAINS = [7, 7, 8, 0]

class World {
  readonly keeper: PageKeeper
  readonly merged: MergedPages
  readonly lookup: Lookup
  readonly pins: Pins
  readonly arena: string[] = new Array(FRAMES).fill('never written')
  readonly pinned: { readonly frame: number; readonly slot: number; readonly content: string }[] = []
  readonly loading: { readonly frame: number; readonly content: string }[] = []
  readonly #contents = new Map<string, string>()

  constructor(nodes = FRAMES * 3) {
    const memory = allocateMemory({ frames: FRAMES, nodes, mappings: MAPPINGS + 1, threads: 1, pinsPerThread: 4 })
    this.keeper = new PageKeeper(memory, (ages) => new ReuseClock(FRAMES, ages), (FRAMES + nodes / 8 + 1) * PAGE_BYTES)
    for (let i = 0; i < MAPPINGS; i++) expect(this.keeper.mappings.create(DOMAINS[i])).toBe(i)
    this.keeper.pinned.attach(0)
    this.pins = new Pins(memory, 0)
    this.lookup = new Lookup(memory, true)
    this.merged = new MergedPages(
      this.keeper,
      // Contents of one length have one hash.
      { hash: (frame) => this.arena[frame]!.length, isEqual: (a, b) => this.arena[a] === this.arena[b] },
      5,
    )
  }

  content(mapping: number, page: number): string {
    return this.#contents.get(`${mapping}:${page}`) ?? 'a'
  }

  write(mapping: number, page: number, content: string): void {
    this.merged.wrote(mapping, page, page + 1)
    this.keeper.drop(mapping, page, page + 1)
    this.#contents.set(`${mapping}:${page}`, content)
  }

  setContent(mapping: number, page: number, content: string): void {
    this.keeper.drop(mapping, page, page + 1)
    this.#contents.set(`${mapping}:${page}`, content)
  }

  reserve(mapping: number, page: number): boolean {
    if (this.keeper.isCached(mapping, page) || this.keeper.isLoading(mapping, page)) return false
    const frame = this.keeper.reserve(mapping, page)
    if (frame === NO_FRAME) return false
    expect(this.pinned.map((pin) => pin.frame)).not.toContain(frame)
    this.arena[frame] = `half read ${frame}`
    this.loading.push({ frame, content: this.content(mapping, page) })
    return true
  }

  publish(at: number): void {
    const { frame, content } = this.loading.splice(at, 1)[0]!
    this.arena[frame] = content
    this.merged.publish(frame, true)
  }

  load(mapping: number, page: number): void {
    if (this.reserve(mapping, page)) this.publish(this.loading.length - 1)
  }

  /** As a load for which there was no time to look for a mate. */
  publishUnseen(mapping: number, page: number): void {
    if (!this.reserve(mapping, page)) return
    const { frame, content } = this.loading.pop()!
    this.arena[frame] = content
    this.keeper.publish(frame, false)
  }

  pin(mapping: number, page: number): void {
    const frame = this.lookup.find(mapping, page)
    if (frame < 0) return
    const slot = this.pins.pin(frame)
    if (slot >= 0) this.pinned.push({ frame, slot, content: this.content(mapping, page) })
  }

  check(): void {
    this.keeper.checkInvariants()
    this.merged.checkInvariants()
    for (const { frame, content } of this.pinned) expect(this.arena[frame]).toBe(content)
    for (let mapping = 0; mapping < MAPPINGS; mapping++)
      for (let page = 0; page < 12; page++) {
        const frame = this.lookup.find(mapping, page)
        expect(frame >= 0).toBe(this.keeper.isCached(mapping, page))
        if (frame !== FOUND.NOTHING) expect(this.arena[frame]).toBe(this.content(mapping, page))
      }
  }

  /** How many cached pages have an equal one, in another frame, in their domain. */
  missed(): number {
    const frames = new Map<string, Set<number>>()
    for (let mapping = 0; mapping < MAPPINGS; mapping++)
      for (let page = 0; page < 12; page++) {
        const frame = this.lookup.find(mapping, page)
        if (frame < 0) continue
        const key = `${DOMAINS[mapping]} ${this.content(mapping, page)}`
        frames.set(key, (frames.get(key) ?? new Set()).add(frame))
      }
    return [...frames.values()].reduce((sum, set) => sum + set.size - 1, 0)
  }
}

const mapping = fc.integer({ min: 0, max: MAPPINGS - 1 })
const page = fc.integer({ min: 0, max: 11 })
const content = fc.constantFrom('a', 'b', 'c', 'dd', 'ee', 'ff', 'ggg')
const n = fc.nat(1000)
const commands = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('load' as const), mapping, page }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('reserve' as const), mapping, page }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('publish' as const), n }) },
    fc.record({ do: fc.constant('abandon' as const), n }),
    { weight: 3, arbitrary: fc.record({ do: fc.constant('content' as const), mapping, page, content }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('write' as const), mapping, page, content }) },
    fc.record({ do: fc.constant('drop' as const), mapping, page }),
    fc.record({ do: fc.constant('published unseen' as const), mapping, page }),
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('scan' as const), count: fc.integer({ min: 1, max: FRAMES }) }),
    },
    fc.record({ do: fc.constant('resize' as const), frames: fc.integer({ min: 4, max: FRAMES + 8 }) }),
    fc.record({ do: fc.constant('pin' as const), mapping, page }),
    fc.record({ do: fc.constant('unpin' as const), n }),
    fc.record({ do: fc.constant('renew' as const), mapping }),
  ),
  { maxLength: 150 },
)

type Command = typeof commands extends fc.Arbitrary<(infer One)[]> ? One : never

function apply(world: World, command: Command): void {
  const { keeper, merged, loading, pinned } = world
  switch (command.do) {
    case 'load':
      world.load(command.mapping, command.page)
      break
    case 'reserve':
      world.reserve(command.mapping, command.page)
      break
    case 'publish':
      if (loading.length > 0) world.publish(command.n % loading.length)
      break
    case 'abandon':
      if (loading.length > 0) keeper.abandon(loading.splice(command.n % loading.length, 1)[0]!.frame)
      break
    case 'content':
      world.setContent(command.mapping, command.page, command.content)
      break
    case 'write':
      world.write(command.mapping, command.page, command.content)
      break
    case 'drop':
      keeper.drop(command.mapping, command.page, PAGES_MAX)
      break
    case 'published unseen':
      world.publishUnseen(command.mapping, command.page)
      break
    case 'scan':
      merged.scan(command.count)
      break
    case 'resize':
      keeper.resize(command.frames * PAGE_BYTES)
      break
    case 'pin':
      world.pin(command.mapping, command.page)
      break
    case 'unpin':
      if (pinned.length > 0) world.pins.unpin(pinned.splice(command.n % pinned.length, 1)[0]!.slot)
      break
    case 'renew':
      keeper.deleteMapping(command.mapping)
      // Numbers go round: the one that was given back is not always the next.
      while (keeper.mappings.create(DOMAINS[command.mapping]) !== command.mapping);
  }
}

test('readers find what the model has, whatever is merged, written, dropped and evicted', () => {
  fc.assert(
    fc.property(commands, fc.constantFrom(FRAMES * 3, 20), (list, nodes) => {
      const world = new World(nodes)
      for (const command of list) {
        apply(world, command)
        world.check()
      }
      for (const { slot } of world.pinned) world.pins.unpin(slot)
      for (const { frame } of world.loading) world.keeper.abandon(frame)
      for (let of = 0; of < MAPPINGS; of++) world.keeper.drop(of, 0, PAGES_MAX)
      world.merged.checkInvariants()
      expect(world.keeper.counts.resident).toBe(0)
      expect(world.merged.counts).toMatchObject({ shared: 0, sharing: 0, unshared: 0 })
    }),
    { numRuns: Number(process.env.SAMEPAGE_TEST_RUNS ?? 300) },
  )
})

test('all equal pages that fit are merged as they are loaded; those that are only found later, by one pass of the scan', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ mapping, page, content, isSeen: fc.boolean() }), { maxLength: 36 }), (pages) => {
      const world = new World()
      const loaded = new Set<string>()
      for (const { mapping: of, page: at, content: what } of pages) {
        if (loaded.has(`${of}:${at}`)) continue
        loaded.add(`${of}:${at}`)
        world.setContent(of, at, what)
        world.load(of, at)
      }
      expect(world.missed()).toBe(0)
      for (const { mapping: of, page: at, isSeen } of pages) {
        if (isSeen) continue
        world.keeper.drop(of, at, at + 1)
        world.publishUnseen(of, at)
      }
      world.merged.scan(FRAMES)
      expect(world.missed()).toBe(0)
      expect(world.merged.isBehind).toBe(false)
      world.check()
    }),
  )
})

test('a page that was written is left alone for two passes', () => {
  const world = new World()
  world.load(0, 1)
  world.write(0, 2, 'b')
  world.write(0, 2, 'a')
  world.load(0, 2)
  expect(world.missed()).toBe(1)
  world.merged.scan(FRAMES)
  expect(world.missed()).toBe(1)
  expect(world.merged.counts).toMatchObject({ volatile: 1, shared: 0, unshared: 1 })
  world.merged.scan(FRAMES)
  world.merged.scan(FRAMES)
  expect(world.missed()).toBe(0)
  expect(world.merged.counts).toMatchObject({ volatile: 0, shared: 1, sharing: 1, unshared: 0, fullScans: 3 })
})

test('a content page that is evicted leaves a shadow for those who shared it, and its last sharer takes it along', () => {
  const world = new World()
  for (const at of [0, 1, 2]) world.load(0, at)
  expect(world.merged.counts).toMatchObject({ shared: 1, sharing: 2 })
  world.keeper.drop(0, 0, 1)
  world.keeper.drop(0, 1, 2)
  expect(world.merged.counts).toMatchObject({ shared: 1, sharing: 0 })
  expect(world.lookup.find(0, 2)).toBeGreaterThanOrEqual(0)
  world.load(0, 1)
  const { bytesMax } = world.keeper
  // What is pinned stays, all else goes.
  world.setContent(3, 0, 'other')
  world.load(3, 0)
  world.pin(3, 0)
  world.keeper.resize(PAGE_BYTES)
  world.keeper.resize(bytesMax)
  expect(world.merged.counts).toMatchObject({ shared: 0, sharing: 0 })
  expect(world.keeper.isCached(0, 1)).toBe(false)
  const { refaults } = world.keeper.counts
  world.load(0, 1)
  world.load(0, 2)
  expect(world.keeper.counts.refaults).toBe(refaults + 1)
  expect(world.lookup.find(0, 1)).toBe(world.lookup.find(0, 2))
  world.keeper.drop(0, 0, PAGES_MAX)
  expect(world.merged.counts).toMatchObject({ shared: 0, sharing: 0 })
  world.merged.checkInvariants()
  world.keeper.checkInvariants()
})
