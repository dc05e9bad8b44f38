/** Promotion of pages on a device, by reads that are looked up and sampled as readers do it: what is read often gets frames, and where that does not pay it ends. */
import { expect, test } from 'vitest'
import type { DirectPages } from '../../../src/cache/direct-pages.ts'
import { DirectPolicy } from '../../../src/cache/direct-policy.ts'
import { PAGE_BYTES } from '../../../src/cache/entry.ts'
import { BATCH, HitSampler } from '../../../src/cache/hit-samples.ts'
import { FOUND, Lookup } from '../../../src/cache/lookup.ts'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { PageKeeper } from '../../../src/cache/page-keeper.ts'
import { ReuseClock } from '../../../src/cache/reclaim/reuse-clock.ts'
import { NODE_BYTES } from '../../../src/layout/node.ts'

const FRAMES = 64
const NODES = 64

/** Reads of one home on a device, of `pages` pages. */
class Device {
  readonly keeper: PageKeeper
  readonly direct: DirectPages
  readonly policy: DirectPolicy
  readonly mapping: number
  reads = 0
  readonly #lookup: Lookup
  readonly #sampler: HitSampler

  constructor(pages: number) {
    const memory = allocateMemory({ frames: FRAMES, nodes: NODES, mappings: 4, threads: 1, pinsPerThread: 2 })
    this.keeper = new PageKeeper(
      memory,
      (ages) => new ReuseClock(FRAMES, ages),
      FRAMES * PAGE_BYTES + NODES * NODE_BYTES,
    )
    this.direct = this.keeper.allowDirect(() => {})
    this.policy = new DirectPolicy(this.keeper)
    this.mapping = this.keeper.mappings.create()
    for (let page = 0; page < pages; page++) this.direct.publish(this.mapping, page, 1000 + page)
    this.#lookup = new Lookup(memory, false)
    this.#sampler = new HitSampler((samples) => this.policy.take(0, samples))
  }

  read(page: number): void {
    this.reads++
    if (this.#lookup.find(this.mapping, page) === FOUND.DIRECT) this.#sampler.found(this.mapping, page)
  }

  isDirect(page: number): boolean {
    return this.#lookup.find(this.mapping, page) === FOUND.DIRECT
  }

  /** A page was sampled so often, and is not read any more. */
  sample(page: number, count: number): void {
    const samples = new Int32Array(2 * count)
    for (let i = 0; i < count; i++) samples.set([this.mapping, page], 2 * i)
    this.policy.take(0, samples)
  }

  /** Pages that are promoted just when nobody reads them any more: `rounds` of samples. Returns how many. */
  thrash(rounds: number, pages: number): number {
    const before = this.direct.counts.promotions
    for (let i = 0; i < (rounds * 1024) / 2; i++) this.sample(i % pages, 2)
    this.keeper.checkInvariants()
    return this.direct.counts.promotions - before
  }
}

test('pages that are read often are promoted, those that are read once are not', () => {
  const device = new Device(512)
  for (let round = 0; round < 3000; round++) for (let page = 0; page < 16; page++) device.read(page)
  for (let page = 16; page < 512; page++) device.read(page)
  for (let page = 0; page < 16; page++) expect(device.isDirect(page), `page ${page}`).toBe(false)
  expect(device.direct.counts.promoted).toBe(16)
  expect(device.direct.counts.entries).toBe(512 - 16)
  device.keeper.checkInvariants()
})

test('in a full cache the place of a page that is read no more is taken, and none of those that are', () => {
  const device = new Device(512)
  const readOften = (from: number, to: number) => {
    for (let round = 0; round < 2000; round++) for (let page = from; page < to; page++) device.read(page)
  }
  readOften(0, FRAMES)
  expect(device.direct.counts.promoted).toBe(FRAMES)
  for (let round = 0; round < 2000; round++)
    for (let page = 0; page < FRAMES; page++) device.read(page < FRAMES / 2 ? page : FRAMES + page)
  for (let page = 0; page < FRAMES / 2; page++) expect(device.isDirect(page), `page ${page}`).toBe(false)
  const promoted = Array.from({ length: FRAMES / 2 }, (_, i) => device.isDirect(FRAMES + FRAMES / 2 + i))
  expect(promoted.filter((it) => !it).length).toBeGreaterThan(FRAMES / 4)
  device.keeper.checkInvariants()
})

test('a demoted page is the same page of the device', () => {
  const device = new Device(2)
  const entries = () => {
    const found: number[][] = []
    device.keeper.each((mapping, page, word, generation) => found.push([mapping, page, word, generation]))
    return found
  }
  const before = entries()
  device.sample(0, 2)
  expect(device.isDirect(0)).toBe(false)
  expect(device.direct.demoteCold()).toBe(true)
  expect(entries()).toEqual(before)
})

test('where pages go before they have paid, promotions cease; and begin again when the set fits', () => {
  const device = new Device(512)
  const first = device.thrash(4, 512)
  expect(first).toBeGreaterThan(500)
  device.thrash(60, 512)
  const late = device.thrash(100, 512)
  // 100 rounds would promote some 51,000.
  expect(late).toBeLessThan(5000)

  const before = device.direct.counts.promotions
  let rounds = 0
  for (; rounds < 300 && device.direct.counts.promotions - before < 24; rounds++)
    for (let i = 0; i < 1024 * 16; i++) device.read(i % 24)
  for (let page = 0; page < 24; page++) device.read(page)
  expect(device.direct.counts.promotions - before).toBeGreaterThanOrEqual(24)
  expect(Array.from({ length: 24 }, (_, page) => device.isDirect(page)).some((it) => it)).toBe(false)
})

test('pages that come from a disk keep their frames, but for the budget', () => {
  const device = new Device(512)
  const { keeper } = device
  const file = keeper.mappings.create()
  for (let page = 0; page < FRAMES; page++) keeper.publish(keeper.reserve(file, page), true)
  expect(keeper.counts.evicted).toBe(0)
  for (let round = 0; round < 1000; round++) for (let page = 0; page < FRAMES; page++) device.read(page)
  expect(keeper.counts.evicted).toBeLessThanOrEqual(FRAMES / 8)
  expect(device.direct.counts.promoted).toBeLessThanOrEqual(FRAMES / 8)
  expect(device.direct.counts.promoted).toBeGreaterThan(0)
  // They come back, and are asked for again and again: the budget sinks to nothing.
  for (let round = 0; round < 20; round++) {
    for (let page = 0; page < FRAMES; page++)
      if (!keeper.isCached(file, page)) keeper.publish(keeper.reserve(file, page), true)
    for (let i = 0; i < 1024 / BATCH; i++) device.sample(100 + i, BATCH)
  }
  expect(device.direct.spare.budget).toBeLessThanOrEqual(1)
  keeper.checkInvariants()
})
