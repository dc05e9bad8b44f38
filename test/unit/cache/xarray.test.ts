/** The index against a Map: every entry is where it was put, and every node comes back. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EntryKind } from '../../../src/cache/entry.ts'
import { allocateMemory } from '../../../src/cache/memory.ts'
import { XArray } from '../../../src/cache/xarray.ts'
import { makeEntry } from '../../../src/layout/entry-word.ts'
import { PAGES_MAX } from '../../../src/layout/mapping-record.ts'

const MAPPINGS = 3

function xarray(nodes: number): XArray {
  return new XArray(allocateMemory({ frames: 4, nodes, mappings: MAPPINGS, threads: 1, pinsPerThread: 2 }))
}

/** Few places, near and far apart: so that entries meet in one node, and trees grow by several levels. */
const pages = fc.oneof(
  fc.integer({ min: 0, max: 130 }),
  fc.integer({ min: 4090, max: 4100 }),
  fc.constantFrom(64 ** 3 - 1, 64 ** 3, 64 ** 4 + 5, 64 ** 5 + 7, PAGES_MAX - 1),
)
const mappings = fc.integer({ min: 0, max: MAPPINGS - 1 })
const commands = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant('set' as const),
      mapping: mappings,
      page: pages,
      value: fc.integer({ min: 0, max: 99 }),
    }),
    fc.record({ do: fc.constant('erase' as const), mapping: mappings, page: pages }),
    fc.record({ do: fc.constant('erase all' as const), mapping: mappings, page: pages, to: pages }),
    fc.record({ do: fc.constant('visit' as const), mapping: mappings, page: pages, to: pages }),
  ),
  { maxLength: 80 },
)

interface Entry {
  readonly page: number
  readonly word: number
  readonly generation: number
}

test('holds what was put there, visits ranges in order, and gives all nodes back', () => {
  fc.assert(
    fc.property(commands, fc.constantFrom(20, 40, 1000), (list, nodes) => {
      const array = xarray(nodes)
      const model = Array.from({ length: MAPPINGS }, () => new Map<number, Entry>())
      const inRange = (mapping: number, from: number, to: number) =>
        [...model[mapping]!.values()].filter(({ page }) => page >= from && page < to).sort((a, b) => a.page - b.page)
      for (const command of list) {
        const { mapping, page } = command
        const of = model[mapping]!
        if (command.do === 'set') {
          const entry = { page, word: makeEntry(EntryKind.PAGE, command.value), generation: command.value * 3 }
          const isSet = array.set(mapping, page, entry.word, entry.generation)
          // It refuses only for want of nodes, and never an entry that has its place.
          if (isSet) of.set(page, entry)
          else expect([of.has(page), array.nodesUsed + 12 > nodes - 1]).toEqual([false, true])
        } else if (command.do === 'erase') {
          array.erase(mapping, page)
          of.delete(page)
        } else {
          const seen: Entry[] = []
          array.each(mapping, page, command.to, (at, word, generation) => {
            seen.push({ page: at, word, generation })
            if (command.do === 'erase all') array.erase(mapping, at)
          })
          expect(seen).toEqual(inRange(mapping, page, command.to))
          if (command.do === 'erase all') for (const entry of seen) of.delete(entry.page)
        }
        array.checkInvariants([0, 1, 2])
        for (let i = 0; i < MAPPINGS; i++) expect(array.get(i, page)).toBe(model[i]!.get(page)?.word ?? 0)
      }
      for (let mapping = 0; mapping < MAPPINGS; mapping++) {
        expect(inRange(mapping, 0, PAGES_MAX).map((entry) => array.get(mapping, entry.page))).toEqual(
          inRange(mapping, 0, PAGES_MAX).map(({ word }) => word),
        )
        array.each(mapping, 0, PAGES_MAX, (page) => array.erase(mapping, page))
      }
      array.checkInvariants([0, 1, 2])
      expect(array.nodesUsed).toBe(0)
    }),
    { numRuns: 300 },
  )
})

test('with its nodes used up it refuses, and takes entries again when some are gone', () => {
  const array = xarray(32)
  const word = makeEntry(EntryKind.ZERO, 0)
  let page = 0
  while (array.set(0, page, word, 0)) page += 64
  expect(page / 64).toBeGreaterThan(10)
  expect(array.set(0, page, word, 0)).toBe(false)
  expect(array.set(0, 1, word, 7)).toBe(true)
  array.checkInvariants([0])
  array.erase(0, 64)
  expect(array.set(0, page, word, 0)).toBe(true)
  array.checkInvariants([0])
})

test('the checker finds an entry that was lost', () => {
  const memory = allocateMemory({ frames: 4, nodes: 64, mappings: 1, threads: 1, pinsPerThread: 2 })
  const array = new XArray(memory)
  array.set(0, 70, makeEntry(EntryKind.ZERO, 0), 0)
  array.checkInvariants([0])
  new Int32Array(memory.nodes).fill(0)
  expect(() => array.checkInvariants([0])).toThrow()
})
