import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ENTRY_VALUES, entryKind, entryValue, makeEntry } from '../../../src/layout/entry-word.ts'
import { FRAME, FRAME_RECORD_BYTES, frameAt, nextGeneration } from '../../../src/layout/frame-record.ts'
import {
  MAPPING,
  MAPPING_RECORD_BYTES,
  makeRoot,
  mappingAt,
  PAGES_MAX,
  rootHeight,
  rootNode,
} from '../../../src/layout/mapping-record.ts'
import {
  HEIGHT_MAX,
  NODE_BYTES,
  NODE_SLOTS,
  NODE_WORDS,
  NODES_MAX,
  nextShift,
  slotAt,
  slotPages,
  topShift,
} from '../../../src/layout/node.ts'

/** As it comes back from shared memory: all words are Int32. */
function stored(word: number): number {
  return new Int32Array([word])[0]!
}

test('an entry says its kind and its value, whatever they are, and fits a word', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: ENTRY_VALUES - 1 }), (kind, value) => {
      const word = stored(makeEntry(kind, value))
      expect([entryKind(word), entryValue(word)]).toEqual([kind, value])
    }),
  )
  expect(makeEntry(0, 0)).toBe(0)
  expect(entryValue(stored(makeEntry(15, ENTRY_VALUES - 1)))).toBe(ENTRY_VALUES - 1)
})

test('a root says its node and its levels', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 28 - 1 }), fc.integer({ min: 0, max: HEIGHT_MAX }), (node, height) => {
      const root = stored(makeRoot(node, height))
      expect([rootNode(root), rootHeight(root)]).toEqual([node, height])
    }),
  )
})

test('generations stay within 30 bits and come round', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 30 - 1 }), (generation) => {
      const next = nextGeneration(generation)
      expect(next).toBe(generation === 2 ** 30 - 1 ? 0 : generation + 1)
      expect(stored(next)).toBe(next)
    }),
  )
  expect(nextGeneration(2 ** 30 - 1)).toBe(0)
})

test('records lie side by side and their fields within them', () => {
  const tables = [
    { at: frameAt, bytes: FRAME_RECORD_BYTES, fields: Object.values(FRAME) },
    { at: mappingAt, bytes: MAPPING_RECORD_BYTES, fields: Object.values(MAPPING) },
  ]
  for (const { at, bytes, fields } of tables) {
    expect(new Set(fields).size).toBe(fields.length)
    for (const field of fields) expect(field).toBeLessThan(bytes / 4)
    for (const record of [0, 1, 2, 1000]) expect(at(record)).toBe((record * bytes) / 4)
  }
  expect(NODE_BYTES).toBe(NODE_WORDS * 4)
})

test('the slots of all levels lead every page to a leaf slot of its own', () => {
  const page = fc.integer({ min: 0, max: PAGES_MAX - 1 })
  fc.assert(
    fc.property(page, page, fc.integer({ min: 0, max: NODES_MAX - 1 }), (a, b, node) => {
      const path = (of: number) => {
        const slots: number[] = []
        for (let shift = topShift(HEIGHT_MAX); shift >= 0; shift = nextShift(shift)) {
          const at = slotAt(node, of, shift)
          expect(at % 2).toBe(0)
          expect(Math.floor(at / NODE_WORDS)).toBe(node)
          slots.push((at % NODE_WORDS) / 2)
        }
        return slots
      }
      // The digits of the page to the base of 64, which is what a tree is.
      expect(path(a).reduce((sum, slot) => sum * NODE_SLOTS + slot, 0)).toBe(a)
      expect(path(a).join() === path(b).join()).toBe(a === b)
    }),
  )
  expect([slotPages(0), slotPages(6), slotPages(30)]).toEqual([1, 64, 2 ** 30])
})
