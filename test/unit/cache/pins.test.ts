import { expect, test } from 'vitest'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { PinnedFrames, Pins } from '../../../src/cache/pins.ts'

test('pins of a thread that has gone are nobody’s, whatever it lets go of later', () => {
  const memory = allocateMemory({ frames: 8, nodes: 8, mappings: 2, threads: 2, pinsPerThread: 4 })
  const pinned = new PinnedFrames(memory)
  pinned.attach(1)
  const first = new Pins(memory, 1)
  const slot = first.pin(3)
  first.end()
  pinned.detach(1)
  pinned.attach(1)
  const next = new Pins(memory, 1)
  expect(next.pin(5)).toBe(slot)
  first.unpin(slot)
  expect(first.pin(6)).toBe(-1)
  pinned.look()
  expect([3, 5, 6].map((frame) => pinned.has(frame))).toEqual([false, true, false])
})

test('each look finds what is pinned then, however many there were before', () => {
  const memory = allocateMemory({ frames: 8, nodes: 8, mappings: 2, threads: 1, pinsPerThread: 4 })
  const pinned = new PinnedFrames(memory)
  pinned.attach(0)
  const pins = new Pins(memory, 0)
  const isPinned = () => [0, 1, 2, 3].map((frame) => pinned.has(frame))
  expect(isPinned()).toEqual([false, false, false, false])
  const [first] = [pins.pin(0), pins.pin(3)]
  pinned.look()
  expect(isPinned()).toEqual([true, false, false, true])
  pins.unpin(first)
  for (let i = 0; i < 1000; i++) {
    pinned.look()
    expect(isPinned()).toEqual([false, false, false, true])
  }
})
