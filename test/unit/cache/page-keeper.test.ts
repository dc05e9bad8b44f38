/**
 * The keeper and its readers against a model: what each page of each mapping holds, by versions. Readers may miss a page, but what they find is what
 * the model has, whatever happened before and in whatever order loads end.
 */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { NO_FRAME } from '../../../src/cache/frames.ts'
import { FOUND, Lookup } from '../../../src/cache/lookup.ts'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { PageKeeper } from '../../../src/cache/page-keeper.ts'
import { Pins } from '../../../src/cache/pins.ts'
import { ReuseClock } from '../../../src/cache/reclaim/reuse-clock.ts'
import { PAGES_MAX } from '../../../src/layout/mapping-record.ts'
import { NODE_BYTES } from '../../../src/layout/node.ts'

const FRAMES = 24
const MAPPINGS = 4
const ZEROS = 'zeros'

const mapping = fc.integer({ min: 0, max: MAPPINGS - 1 })
const page = fc.oneof(
  fc.integer({ min: 0, max: 20 }),
  fc.constantFrom(63, 64, 65, 640, 4096, 64 ** 3, PAGES_MAX - 1, PAGES_MAX, 2 ** 32 + 3),
)
const n = fc.integer({ min: 0, max: 1000 })
const commands = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('load' as const), mapping, page }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('reserve' as const), mapping, page }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('publish' as const), n }) },
    fc.record({ do: fc.constant('abandon' as const), n }),
    fc.record({ do: fc.constant('load zeros' as const), mapping, page }),
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('drop' as const),
        mapping,
        page,
        count: fc.constantFrom(1, 5, 64, PAGES_MAX),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('share' as const), mapping, page, home: mapping, homePage: page }),
    },
    fc.record({ do: fc.constant('resize' as const), frames: fc.integer({ min: 4, max: FRAMES }) }),
    fc.record({ do: fc.constant('pin' as const), mapping, page }),
    fc.record({ do: fc.constant('unpin' as const), n }),
    fc.record({ do: fc.constant('renew' as const), mapping }),
  ),
  { maxLength: 150 },
)

/** A keeper with readers, an arena of labels instead of bytes, and the model of what they say. */
class World {
  readonly memory
  readonly keeper: PageKeeper
  readonly lookup: Lookup
  readonly pins: Pins
  readonly arena: string[] = new Array(FRAMES).fill('never written')
  readonly pinned: { readonly frame: number; readonly slot: number; readonly label: string }[] = []
  /** What a page is now: bumped when it changes. */
  readonly #versions = new Map<string, number>()
  /** Labels that short cuts lead to. */
  readonly #shared = new Map<string, string>()
  readonly loading: {
    readonly frame: number
    readonly label: string
    readonly mapping: number
    readonly page: number
  }[] = []
  #number = 0

  constructor(nodes: number) {
    this.memory = allocateMemory({ frames: FRAMES, nodes, mappings: MAPPINGS, threads: 2, pinsPerThread: 4 })
    const released: number[] = []
    this.keeper = new PageKeeper(
      this.memory,
      (ages) => new ReuseClock(FRAMES, ages),
      FRAMES * PAGE_BYTES,
      (frames) => {
        released.push(...frames)
        for (const frame of frames) this.arena[frame] = 'given back'
      },
    )
    this.keeper.pinned.attach(0)
    this.pins = new Pins(this.memory, 0)
    this.lookup = new Lookup(this.memory, true)
    for (let i = 0; i < MAPPINGS; i++) expect(this.keeper.mappings.create()).toBe(i)
  }

  label(of: number, at: number): string {
    const key = `${of}:${at}`
    return `${key} version ${this.#versions.get(key) ?? this.#number}`
  }

  /** From now on the pages are others. */
  change(of: number, from: number, to: number): void {
    this.#number++
    for (const key of [...this.#versions.keys(), ...this.#shared.keys()]) {
      const [m, p] = key.split(':').map(Number)
      if (m !== of || p! < from || p! >= to) continue
      this.#versions.set(key, this.#number)
      this.#shared.delete(key)
    }
  }

  reserve(of: number, at: number): boolean {
    if (this.keeper.isCached(of, at) || this.keeper.isLoading(of, at)) return false
    const frame = this.keeper.reserve(of, at)
    if (frame === NO_FRAME) return false
    expect(at).toBeLessThan(PAGES_MAX)
    expect(this.pinned.map((pin) => pin.frame)).not.toContain(frame)
    this.arena[frame] = 'half read'
    const key = `${of}:${at}`
    if (!this.#versions.has(key)) this.#versions.set(key, this.#number)
    this.loading.push({ frame, label: this.label(of, at), mapping: of, page: at })
    return true
  }

  publish(index: number): void {
    const { frame, label, mapping: of, page: at } = this.loading.splice(index, 1)[0]!
    this.arena[frame] = label
    const isCurrent = label === this.label(of, at)
    const isPublished = this.keeper.publish(frame, true)
    if (!isCurrent) expect(isPublished).toBe(false)
    if (isPublished) {
      expect(this.lookup.find(of, at)).toBe(frame)
      this.#shared.delete(`${of}:${at}`)
    }
  }

  /** As the files of a home do: only where the page is none of the file's own. */
  share(of: number, at: number, home: number, homePage: number): void {
    if (
      of === home ||
      at >= PAGES_MAX ||
      this.keeper.frameOf(of, at) !== NO_FRAME ||
      this.lookup.find(of, at) === FOUND.ZERO
    )
      return
    const frame = this.lookup.find(home, homePage)
    if (frame < 0) return
    const label = this.arena[frame]!
    this.keeper.share(of, at, frame, this.lookup.generation)
    const found = this.lookup.find(of, at)
    if (found === frame) this.#shared.set(`${of}:${at}`, label)
  }

  check(of: number, at: number): boolean {
    const frame = this.lookup.find(of, at)
    if (frame === FOUND.NOTHING) return false
    const content = frame === FOUND.ZERO ? ZEROS : this.arena[frame]!
    const shared = this.#shared.get(`${of}:${at}`)
    if (frame === FOUND.ZERO) expect(this.zeros.has(`${this.label(of, at)}`)).toBe(true)
    else expect([this.label(of, at), shared]).toContain(content)
    if (frame >= 0) expect(this.lookup.isStill(frame, this.lookup.generation)).toBe(true)
    return frame >= 0 && content !== shared
  }
  readonly zeros = new Set<string>()

  checkAll(): void {
    const { keeper } = this
    keeper.checkInvariants()
    let own = 0
    for (const key of this.#versions.keys()) {
      const [m, p] = key.split(':').map(Number)
      if (this.check(m!, p!)) own++
    }
    // What is resident is found: all of it, and nothing else.
    expect(own).toBe(keeper.counts.resident)
    for (const { frame, label } of this.pinned) expect(this.arena[frame]).toBe(label)
    const unavoidable = this.loading.length + this.pinned.length + 1
    expect(keeper.frames.used * PAGE_BYTES + keeper.indexBytes).toBeLessThanOrEqual(
      Math.max(keeper.bytesMax, unavoidable * PAGE_BYTES + keeper.indexBytes),
    )
  }
}

test('readers find what the model has and nothing else, in whatever order things happen', () => {
  fc.assert(
    fc.property(commands, fc.constantFrom(14, 30, 300), (list, nodes) => {
      const world = new World(nodes)
      const { keeper } = world
      for (const command of list) {
        switch (command.do) {
          case 'load':
            if (world.reserve(command.mapping, command.page)) world.publish(world.loading.length - 1)
            break
          case 'reserve':
            world.reserve(command.mapping, command.page)
            break
          case 'publish':
            if (world.loading.length > 0) world.publish(command.n % world.loading.length)
            break
          case 'abandon':
            if (world.loading.length > 0)
              keeper.abandon(world.loading.splice(command.n % world.loading.length, 1)[0]!.frame)
            break
          case 'load zeros':
            if (world.reserve(command.mapping, command.page)) {
              const { frame, label } = world.loading.pop()!
              if (keeper.publishZero(frame)) world.zeros.add(label)
            }
            break
          case 'drop':
            world.change(command.mapping, command.page, command.page + command.count)
            keeper.drop(command.mapping, command.page, command.page + command.count)
            break
          case 'share':
            world.share(command.mapping, command.page, command.home, command.homePage)
            break
          case 'resize':
            keeper.resize(command.frames * PAGE_BYTES)
            break
          case 'pin': {
            const frame = world.lookup.find(command.mapping, command.page)
            if (frame < 0) break
            const slot = world.pins.pin(frame)
            if (slot >= 0) world.pinned.push({ frame, slot, label: world.arena[frame]! })
            break
          }
          case 'unpin':
            if (world.pinned.length > 0)
              world.pins.unpin(world.pinned.splice(command.n % world.pinned.length, 1)[0]!.slot)
            break
          case 'renew': {
            // Its number goes round to somebody else; what is being loaded for the old one is nobody's.
            world.change(command.mapping, 0, Infinity)
            const before = world.lookup.layoutOf(command.mapping)
            keeper.deleteMapping(command.mapping)
            expect(keeper.mappings.create()).toBe(command.mapping)
            expect(world.lookup.layoutOf(command.mapping)).not.toBe(before)
          }
        }
        world.checkAll()
      }
      // Everything ends well: nothing is lost.
      while (world.loading.length > 0) keeper.abandon(world.loading.pop()!.frame)
      for (const { slot } of world.pinned.splice(0)) world.pins.unpin(slot)
      for (let of = 0; of < MAPPINGS; of++) {
        world.change(of, 0, Infinity)
        keeper.deleteMapping(of)
      }
      keeper.resize(FRAMES * PAGE_BYTES)
      keeper.checkInvariants()
      expect([keeper.frames.used, keeper.counts.resident]).toEqual([0, 0])
      keeper.frames.shrink()
      expect(keeper.frames.inLimbo).toBe(0)
    }),
    { numRuns: Number(process.env.SAMEPAGE_TEST_RUNS ?? 400) },
  )
})

function keeperOf(frames: number, nodes: number, pinsPerThread = 64) {
  const memory = allocateMemory({ frames, nodes, mappings: 4, threads: 1, pinsPerThread })
  const released: number[] = []
  const keeper = new PageKeeper(
    memory,
    (ages) => new ReuseClock(frames, ages),
    frames * PAGE_BYTES,
    (them) => released.push(...them),
  )
  return { memory, keeper, released, lookup: new Lookup(memory, false) }
}

test('holes and short cuts give way to pages where nodes run out', () => {
  const { keeper, lookup } = keeperOf(64, 60)
  const mapping = keeper.mappings.create()
  for (let i = 0; i < 100; i++) {
    const frame = keeper.reserve(mapping, i * 64)
    keeper.publishZero(frame)
  }
  const frame = keeper.reserve(mapping, 200 * 64)
  expect(keeper.publish(frame, true)).toBe(true)
  expect(lookup.find(mapping, 200 * 64)).toBe(frame)
  keeper.checkInvariants()
})

test('frames beyond what index and pages may take are given back as the index grows', () => {
  const { keeper, released } = keeperOf(256, 600)
  const mapping = keeper.mappings.create()
  // A leaf for each page: 512 bytes of index for 4096.
  for (let i = 0; i < 1000; i++) {
    const frame = keeper.reserve(mapping, i * 64)
    if (frame !== NO_FRAME) keeper.publish(frame, true)
    const touched = (256 - new Set(released).size) * PAGE_BYTES
    expect(touched + keeper.indexBytes).toBeLessThanOrEqual(256 * PAGE_BYTES + NODE_BYTES * 8)
  }
  expect(keeper.counts.resident).toBeGreaterThan(150)
  keeper.checkInvariants()
})

test('pages that are pinned stay when the cache shrinks, and their memory goes when they are let go', () => {
  const { memory, keeper, released, lookup } = keeperOf(128, 600)
  keeper.pinned.attach(0)
  const pins = new Pins(memory, 0)
  const mapping = keeper.mappings.create()
  for (let page = 0; page < 100; page++) keeper.publish(keeper.reserve(mapping, page), true)
  const slots = Array.from({ length: 40 }, (_, page) => pins.pin(lookup.find(mapping, page)))
  keeper.resize(16 * PAGE_BYTES)
  for (let page = 0; page < 40; page++) expect(lookup.find(mapping, page)).toBeGreaterThanOrEqual(0)
  expect(lookup.find(mapping, 50)).toBe(FOUND.NOTHING)
  expect(keeper.reserve(mapping, 200)).toBe(NO_FRAME)
  for (const slot of slots) pins.unpin(slot)
  expect(keeper.reserve(mapping, 200)).not.toBe(NO_FRAME)
  expect(keeper.frames.used).toBeLessThanOrEqual(16)
  expect(released.length).toBeGreaterThanOrEqual(112)
  keeper.checkInvariants()
})

test.each([100, 12_000])('what looking at pins costs an eviction does not grow with the pins: %i of them', (count) => {
  const { memory, keeper, lookup } = keeperOf(16_384, 1000, count + 1)
  keeper.pinned.attach(0)
  const look = vi.spyOn(keeper.pinned, 'look')
  const pins = new Pins(memory, 0)
  const mapping = keeper.mappings.create()
  for (let page = 0; page < count; page++) {
    keeper.publish(keeper.reserve(mapping, page), true)
    pins.pin(lookup.find(mapping, page))
  }
  for (let page = count; page < 40_000; page++) keeper.publish(keeper.reserve(mapping, page), true)
  const slots = look.mock.calls.length * count
  expect(keeper.counts.evicted).toBeGreaterThan(20_000)
  // Before a batch goes, and before its frames are used again; a batch has a frame for 128 slots.
  expect(slots / keeper.counts.evicted).toBeLessThan(3 * 128)
  for (let page = 0; page < count; page++) expect(keeper.isCached(mapping, page)).toBe(true)
})

test('mappings are given out until there are no more, and sizes are exact up to the largest', () => {
  const { keeper, lookup } = keeperOf(16, 60)
  const all = Array.from({ length: 4 }, () => keeper.mappings.create())
  expect([...all].sort()).toEqual([0, 1, 2, 3])
  expect(keeper.mappings.create()).toBe(-1)
  keeper.deleteMapping(2)
  expect(keeper.mappings.create()).toBe(2)
  for (const bytes of [
    0,
    1,
    4095,
    4096,
    4097,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32 + 5,
    2 ** 42 + 1,
    2 ** 43 - 1,
    2 ** 43,
    2 ** 45 + 77,
    2 ** 53 - 1,
  ]) {
    keeper.mappings.setSize(1, bytes)
    expect(lookup.sizeOf(1)).toBe(bytes)
    const last = Math.floor(bytes / PAGE_BYTES)
    expect(lookup.isWhole(1, last)).toBe(false)
    if (last > 0) expect(lookup.isWhole(1, last - 1)).toBe(last < PAGES_MAX)
  }
})

test('when the keeper ends no reader finds anything, nor believes what it has just copied', () => {
  const { keeper, lookup } = keeperOf(16, 60)
  const mapping = keeper.mappings.create()
  keeper.publish(keeper.reserve(mapping, 3), true)
  const frame = lookup.find(mapping, 3)
  const { generation } = lookup
  const layout = lookup.layoutOf(mapping)
  keeper.end()
  expect(lookup.isStill(frame, generation)).toBe(false)
  expect(lookup.layoutOf(mapping)).not.toBe(layout)
  expect([lookup.find(mapping, 3), lookup.isClosed]).toEqual([FOUND.NOTHING, true])
})

test('the checker finds a page that is in no frame of its own', () => {
  const { memory, keeper } = keeperOf(16, 60)
  const mapping = keeper.mappings.create()
  keeper.publish(keeper.reserve(mapping, 3), true)
  keeper.checkInvariants()
  new Int32Array(memory.frames).fill(5)
  expect(() => keeper.checkInvariants()).toThrow(/is not in frame/)
})
