/**
 * Readers whom the keeper overtakes in the middle of a look-up. `Atomics.load` is where they can be stopped: there the keeper is let do
 * something, and what the reader then says must still be true.
 */
import { afterEach, expect, test, vi } from 'vitest'
import { EntryKind, PAGE_BYTES } from '../../../src/cache/entry.ts'
import { FOUND, Lookup } from '../../../src/cache/lookup.ts'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { PageKeeper } from '../../../src/cache/page-keeper.ts'
import { ReuseClock } from '../../../src/cache/reclaim/reuse-clock.ts'
import { makeEntry } from '../../../src/layout/entry-word.ts'
import { AGE_MAX, frameAt } from '../../../src/layout/frame-record.ts'
import { MAPPING, MAPPINGS_MAX, makeRoot, mappingAt } from '../../../src/layout/mapping-record.ts'
import { NODES_MAX, slotAt, topShift } from '../../../src/layout/node.ts'

const FRAMES = 8
const NODES = 64

function world() {
  const memory = allocateMemory({ frames: FRAMES, nodes: NODES, mappings: 4, threads: 1, pinsPerThread: 2 })
  const keeper = new PageKeeper(memory, (ages) => new ReuseClock(FRAMES, ages), FRAMES * PAGE_BYTES)
  const lookup = new Lookup(memory, true)
  for (let i = 0; i < 4; i++) keeper.mappings.create()
  return { keeper, lookup }
}

function cache(keeper: PageKeeper, mapping: number, page: number): number {
  const frame = keeper.reserve(mapping, page)
  expect(keeper.publish(frame, true)).toBe(true)
  return frame
}

function cacheZero(keeper: PageKeeper, mapping: number, page: number): void {
  expect(keeper.publishZero(keeper.reserve(mapping, page))).toBe(true)
}

const LOADS_MAX = 20

/** Lets `act` happen before the reader's `nth` atomic load; tells how many there were. */
function interrupt(nth: number, act: () => void, read: () => void): number {
  const load = Atomics.load
  let count = 0
  const spy = vi.spyOn(Atomics, 'load').mockImplementation(((array: Int32Array, index: number) => {
    if (count++ === nth) act()
    return load(array, index)
  }) as typeof Atomics.load)
  try {
    read()
  } finally {
    spy.mockRestore()
  }
  return count
}

test('pages whose nodes lie behind the first 2^31 words are found', () => {
  const page = 64 + 3
  // Untouched memory takes none.
  const memory = allocateMemory({ frames: 2, nodes: 2 ** 24 + 2, mappings: 1, threads: 1, pinsPerThread: 1 })
  const [nodes, frames, mappings] = [memory.nodes, memory.frames, memory.mappings].map((it) => new Int32Array(it))
  const [above, leaf] = [2 ** 24, 2 ** 24 + 1]
  mappings![mappingAt(0) + MAPPING.ROOT] = makeRoot(above, 2)
  nodes![slotAt(above, page, topShift(2))] = leaf
  nodes![slotAt(leaf, page, 0)] = makeEntry(EntryKind.PAGE, 1)
  nodes![slotAt(leaf, page, 0) + 1] = 5
  frames!.set([5, 0, page], frameAt(1))
  for (const needsFence of [false, true]) expect(new Lookup(memory, needsFence).find(0, page)).toBe(1)
})

test('what has no room in words is refused', () => {
  const sizes = { frames: 1, nodes: 1, mappings: 1, threads: 1, pinsPerThread: 1 }
  for (const more of [{ frames: 2 ** 26 + 1 }, { nodes: NODES_MAX + 1 }, { mappings: MAPPINGS_MAX + 1 }])
    expect(() => allocateMemory({ ...sizes, ...more }), JSON.stringify(more)).toThrow('at most')
})

afterEach(() => {
  vi.restoreAllMocks()
})

/** Tries every place at which the reader can be stopped. `expectation` sees what was found, and whether it still holds. */
function atEveryLoad(
  prepare: (keeper: PageKeeper) => void,
  find: readonly [mapping: number, page: number],
  act: (keeper: PageKeeper) => void,
  expectation: (found: number, holds: boolean) => void,
): void {
  for (let nth = 0; nth < LOADS_MAX; nth++) {
    const { keeper, lookup } = world()
    prepare(keeper)
    let found = 0
    const loads = interrupt(
      nth,
      () => act(keeper),
      () => {
        found = lookup.find(...find)
      },
    )
    expect(loads).toBeGreaterThan(0)
    expect(loads).toBeLessThan(LOADS_MAX)
    if (nth >= loads) continue
    expectation(found, found >= 0 && lookup.isStill(found, lookup.generation))
  }
}

test('finds a page by its owner, raises its age up to the top, and nothing beside it', () => {
  const { keeper, lookup } = world()
  const frame = cache(keeper, 1, 70)
  // The first to find it is who had it loaded.
  for (const age of [0, ...Array.from({ length: AGE_MAX + 1 }, (_, i) => i)]) {
    expect(keeper.frames.age(frame)).toBe(age)
    expect(lookup.find(1, 70)).toBe(frame)
  }
  expect(keeper.frames.age(frame)).toBe(AGE_MAX)
  for (const [mapping, page] of [
    [0, 70],
    [1, 69],
    [1, 71],
    [1, 6],
    [1, 70 + 64 * 64],
    [1, 2 ** 31],
    [1, 2 ** 32 + 70],
  ] as const)
    expect(lookup.find(mapping, page)).toBe(FOUND.NOTHING)
})

test('a page that is given up meanwhile is not found, or found and does not hold', () => {
  atEveryLoad(
    (keeper) => cache(keeper, 0, 5),
    [0, 5],
    (keeper) => keeper.drop(0, 0, 10),
    (_, holds) => expect(holds).toBe(false),
  )
})

test('a frame that is taken for the same page again holds nothing until that is loaded', () => {
  atEveryLoad(
    (keeper) => {
      cache(keeper, 0, 5)
      // The next frame that is free is the one that was given up.
      for (let page = 10; page < 10 + FRAMES - 2; page++) keeper.reserve(1, page)
    },
    [0, 5],
    (keeper) => {
      keeper.drop(0, 0, 10)
      keeper.reserve(0, 5)
    },
    (_, holds) => expect(holds).toBe(false),
  )
})

test('a hole is found in the index that it is in only: not in one that has taken its place and is lower', () => {
  const { keeper, lookup } = world()
  cacheZero(keeper, 0, 64 * 64 + 7)
  let found = 0
  interrupt(
    0,
    () => {
      keeper.drop(0, 0, 2 ** 31)
      // One level, whose seventh page is another one than the reader's.
      cacheZero(keeper, 0, 7)
    },
    () => {
      found = lookup.find(0, 64 * 64 + 7)
    },
  )
  expect(found).toBe(FOUND.NOTHING)
})

test('a short cut leads to the frame that it was made for, or nowhere', () => {
  const share = (keeper: PageKeeper, of: number, page: number, home: number, homePage: number) => {
    const frame = keeper.frameOf(home, homePage)
    keeper.share(of, page, frame, keeper.frames.generation(frame))
  }
  // Before anything happens it is found.
  const { keeper, lookup } = world()
  const frame = cache(keeper, 3, 1)
  share(keeper, 0, 5, 3, 1)
  expect(lookup.find(0, 5)).toBe(frame)
  keeper.drop(3, 1, 2)
  expect(lookup.find(0, 5)).toBe(FOUND.NOTHING)

  // The file's index is gone, and its nodes are another file's, who has a short cut in the same slot.
  atEveryLoad(
    (them) => {
      cache(them, 3, 1)
      cache(them, 3, 2)
      share(them, 0, 64 * 64 + 5, 3, 1)
    },
    [0, 64 * 64 + 5],
    (them) => {
      them.drop(0, 0, 2 ** 31)
      share(them, 1, 64 * 64 + 5, 3, 2)
    },
    (found, holds) => {
      // Page 2 of the home is in frame 1: it was never this file's.
      if (holds) expect(found).toBe(0)
    },
  )

  // The home's page is given up, and its frame has another.
  atEveryLoad(
    (them) => {
      cache(them, 3, 1)
      share(them, 0, 5, 3, 1)
      for (let page = 10; page < 10 + FRAMES - 2; page++) them.reserve(1, page)
    },
    [0, 5],
    (them) => {
      them.drop(3, 1, 2)
      cache(them, 2, 9)
    },
    (_, holds) => expect(holds).toBe(false),
  )
})

test('the size is never half of one and half of another', () => {
  const sizes = [2 ** 32 - 1, 2 ** 32 + 7]
  for (let nth = 0; nth < LOADS_MAX; nth++) {
    const { keeper, lookup } = world()
    keeper.mappings.setSize(0, sizes[0]!)
    let size = 0
    interrupt(
      nth,
      () => keeper.mappings.setSize(0, sizes[1]!),
      () => {
        size = lookup.sizeOf(0)
      },
    )
    expect(sizes).toContain(size)
  }
})
