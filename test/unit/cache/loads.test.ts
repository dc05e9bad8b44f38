/** Loads under way against a map from page to frame. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Frames, NO_FRAME } from '../../../src/cache/frames.ts'
import { Loads } from '../../../src/cache/loads.ts'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { PinnedFrames } from '../../../src/cache/pins.ts'

const FRAMES = 16
/** Some of them are in one chain. */
const PAGES = [0, 1, 2, 1024, 1025, 2048, 2 ** 31 - 1]
const MAPPINGS = 3

const mapping = fc.nat(MAPPINGS - 1)
const page = fc.constantFrom(...PAGES)
const commands = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('begin' as const), mapping, page }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('end' as const), n: fc.nat(FRAMES) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), mapping, from: page, to: page }) },
  ),
  { maxLength: 100 },
)

test('each page is loaded into the frame that was taken for it, until that ends or the page is dropped', () => {
  fc.assert(
    fc.property(commands, (list) => {
      const memory = allocateMemory({ frames: FRAMES, nodes: 1, mappings: 1, threads: 1, pinsPerThread: 1 })
      const frames = new Frames(memory, new PinnedFrames(memory))
      const loads = new Loads(frames)
      const under = new Map<string, number>()
      const cancelled: number[] = []
      for (const command of list) {
        if (command.do === 'begin') {
          const key = `${command.mapping} ${command.page}`
          if (under.has(key)) continue
          const frame = frames.take(command.mapping, command.page)
          if (frame === NO_FRAME) continue
          loads.begin(frame)
          under.set(key, frame)
        } else if (command.do === 'end') {
          const all = [...under.values(), ...cancelled]
          if (all.length === 0) continue
          const frame = all[command.n % all.length]!
          loads.end(frame)
          frames.discard(frame)
          for (const [key, value] of under) if (value === frame) under.delete(key)
          if (cancelled.includes(frame)) cancelled.splice(cancelled.indexOf(frame), 1)
        } else {
          loads.cancel(command.mapping, command.from, command.to)
          for (const [key, frame] of under) {
            const [mapping, page] = key.split(' ').map(Number) as [number, number]
            if (mapping !== command.mapping || page < command.from || page >= command.to) continue
            under.delete(key)
            cancelled.push(frame)
          }
        }
        expect(loads.count).toBe(under.size + cancelled.length)
        for (let mapping = 0; mapping < MAPPINGS; mapping++)
          for (const page of PAGES)
            expect(loads.frameOf(mapping, page)).toBe(under.get(`${mapping} ${page}`) ?? NO_FRAME)
        for (let frame = 0; frame < FRAMES; frame++) expect(loads.isCancelled(frame)).toBe(cancelled.includes(frame))
      }
    }),
  )
})
