/** Frames and pins against a model that has the state of each frame, and the free ones in their order. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FRAME_STATE, Frames, NO_FRAME } from '../../../src/cache/frames.ts'
import { allocateMemory, type CacheMemory } from '../../../src/cache/memory.ts'
import { PinnedFrames, Pins } from '../../../src/cache/pins.ts'

const FRAMES = 12

function memory(): CacheMemory {
  return allocateMemory({ frames: FRAMES, nodes: 4, mappings: 1, threads: 3, pinsPerThread: 5 })
}

const below = fc.integer({ min: 0, max: FRAMES - 1 })
const commands = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('take' as const), n: below }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('keep' as const), n: below }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('give up' as const), n: below }) },
    fc.record({ do: fc.constant('discard' as const), n: below }),
    fc.record({ do: fc.constant('pin' as const), n: below }),
    fc.record({ do: fc.constant('unpin' as const), n: below }),
    fc.record({ do: fc.constant('limit' as const), n: fc.integer({ min: 1, max: FRAMES }) }),
    fc.record({ do: fc.constant('shrink' as const), n: below }),
  ),
  { maxLength: 120 },
)

test('no frame has two users, none that is pinned is used again, and the limit holds', () => {
  fc.assert(
    fc.property(commands, (list) => {
      const shared = memory()
      const pinned = new PinnedFrames(shared)
      pinned.attach(0)
      const pins = new Pins(shared, 0)
      const frames = new Frames(shared, pinned)
      const loading: number[] = []
      const resident: number[] = []
      const slots: { readonly frame: number; readonly slot: number }[] = []
      /** Generations that entries have named, by frame. */
      const minted = new Map<number, Set<number>>()
      const isPinned = (frame: number) => slots.some((slot) => slot.frame === frame)
      const takeAway = (from: number[], n: number) => from.splice(n % from.length, 1)[0]!
      for (const { do: what, n } of list) {
        if (what === 'take') {
          const usedBefore = frames.used
          const frame = frames.take(0, n)
          if (frame === NO_FRAME) {
            expect(usedBefore + frames.inLimbo + 1 > frames.limit).toBe(true)
            continue
          }
          expect([...loading, ...resident]).not.toContain(frame)
          expect(isPinned(frame)).toBe(false)
          expect([frames.mapping(frame), frames.page(frame), frames.age(frame)]).toEqual([0, n, 0])
          expect(frames.used + frames.inLimbo).toBeLessThanOrEqual(frames.limit)
          // While it is loaded no reader may take it for what some entry named, or will name.
          expect(minted.get(frame)?.has(frames.generation(frame)) ?? false).toBe(false)
          loading.push(frame)
        } else if (what === 'keep' && loading.length > 0) {
          const frame = takeAway(loading, n)
          const whileLoading = frames.generation(frame)
          const generation = frames.keep(frame)
          expect(frames.generation(frame)).toBe(generation)
          expect(generation).not.toBe(whileLoading)
          expect(minted.get(frame)?.has(generation) ?? false).toBe(false)
          minted.set(frame, (minted.get(frame) ?? new Set()).add(generation))
          resident.push(frame)
        } else if (what === 'give up' && resident.length > 0) {
          const frame = takeAway(resident, n)
          frames.giveUp(frame)
          expect(minted.get(frame)!.has(frames.generation(frame))).toBe(false)
        } else if (what === 'discard' && loading.length > 0) frames.discard(takeAway(loading, n))
        else if (what === 'pin' && resident.length > 0) {
          const frame = resident[n % resident.length]!
          const slot = pins.pin(frame)
          expect(slot === -1).toBe(slots.length === 4)
          if (slot >= 0) slots.push({ frame, slot })
        } else if (what === 'unpin' && slots.length > 0) pins.unpin(slots.splice(n % slots.length, 1)[0]!.slot)
        else if (what === 'limit') frames.setLimit(n)
        else if (what === 'shrink') {
          for (const frame of frames.shrink()) {
            expect(isPinned(frame)).toBe(false)
            expect(frames.state(frame)).toBe(FRAME_STATE.OFFLINE)
          }
        }
        frames.checkInvariants()
        expect(frames.used).toBe(loading.length + resident.length)
        for (const frame of loading) expect(frames.state(frame)).toBe(FRAME_STATE.LOADING)
        for (const frame of resident) expect(frames.state(frame)).toBe(FRAME_STATE.RESIDENT)
      }
      // All come back.
      for (const { slot } of slots) pins.unpin(slot)
      for (const frame of loading) frames.discard(frame)
      for (const frame of resident) frames.giveUp(frame)
      frames.setLimit(FRAMES)
      for (let i = 0; i < FRAMES; i++) expect(frames.take(0, i)).not.toBe(NO_FRAME)
      expect(frames.take(0, 0)).toBe(NO_FRAME)
      frames.checkInvariants()
    }),
    { numRuns: 500 },
  )
})

test('free frames are used first in, first out', () => {
  const shared = memory()
  const frames = new Frames(shared, new PinnedFrames(shared))
  const first = Array.from({ length: FRAMES }, (_, i) => frames.take(0, i))
  expect(new Set(first).size).toBe(FRAMES)
  const order = [3, 7, 1, 9].map((i) => first[i]!)
  for (const frame of order) {
    frames.keep(frame)
    frames.giveUp(frame)
  }
  expect(order.map((_, i) => frames.take(0, i))).toEqual(order)
})

test('a frame that is pinned waits, and is used again when the last pin goes, or the thread', () => {
  const shared = memory()
  const pinned = new PinnedFrames(shared)
  const frames = new Frames(shared, pinned)
  for (const thread of [1, 2]) pinned.attach(thread)
  const [one, two] = [new Pins(shared, 1), new Pins(shared, 2)]
  const frame = frames.take(0, 0)
  frames.keep(frame)
  const slot = one.pin(frame)
  two.pin(frame)
  frames.giveUp(frame)
  const others = Array.from({ length: FRAMES - 1 }, (_, i) => frames.take(0, i))
  expect(others).not.toContain(frame)
  expect([frames.take(0, 1), frames.inLimbo]).toEqual([NO_FRAME, 1])
  one.unpin(slot)
  expect(frames.take(0, 1)).toBe(NO_FRAME)
  pinned.detach(2)
  expect(frames.take(0, 1)).toBe(frame)
  frames.checkInvariants()
  // Who comes in that thread's place begins with nothing.
  pinned.attach(2)
  pinned.look()
  expect(pinned.has(frame)).toBe(false)
  new Pins(shared, 2).pin(frame)
  pinned.look()
  expect(pinned.has(frame)).toBe(true)
})

test('a thread has so many pins and no more, and slots are used again', () => {
  const shared = memory()
  const pinned = new PinnedFrames(shared)
  pinned.attach(1)
  const pins = new Pins(shared, 1)
  const slots = [0, 1, 2, 3].map((frame) => pins.pin(frame))
  expect(new Set(slots).size).toBe(4)
  expect(pins.pin(4)).toBe(-1)
  pins.unpin(slots[1]!)
  expect(pins.pin(5)).toBe(slots[1])
  pinned.look()
  expect([0, 1, 2, 3, 4, 5].filter((frame) => pinned.has(frame))).toEqual([0, 2, 3, 5])
})

test('it is filled from when more frames are wanted than there may be until there may be more again', () => {
  const shared = memory()
  const frames = new Frames(shared, new PinnedFrames(shared))
  frames.setLimit(4)
  frames.shrink()
  const take = () => frames.take(0, 0)
  for (let i = 0; i < 4; i++) expect([take() === NO_FRAME, frames.isFilled]).toEqual([false, false])
  expect([take() === NO_FRAME, frames.isFilled]).toEqual([true, true])
  // A page takes the place of another one.
  frames.keep(0)
  frames.giveUp(0)
  expect([take() === NO_FRAME, frames.isFilled]).toEqual([false, true])
  frames.setLimit(2)
  expect(frames.isFilled).toBe(true)
  frames.setLimit(5)
  expect(frames.isFilled).toBe(false)
})
