import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Lists } from '../../../../src/cache/reclaim/lists.ts'

const COUNT = 8
const LISTS = 2

test('lists are as arrays would be, newest first', () => {
  const step = fc.record({ push: fc.boolean(), list: fc.nat(LISTS - 1), item: fc.nat(COUNT - 1) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lists = new Lists(COUNT, LISTS)
      let model: number[][] = [[], []]
      for (const { push, list, item } of steps) {
        const isListed = model.some((items) => items.includes(item))
        if (push || isListed) model = model.map((items) => items.filter((each) => each !== item))
        if (push) {
          lists.push(list, item)
          model[list]!.unshift(item)
        } else if (isListed) lists.remove(item)
        else expect(() => lists.remove(item)).toThrow('in no list')
        lists.checkInvariants()
        model.forEach((items, i) => {
          expect(lists.size(i)).toBe(items.length)
          expect(lists.tail(i)).toBe(items.at(-1) ?? -1)
          items.forEach((each, at) => {
            expect(lists.listOf(each)).toBe(i)
            expect(lists.newer(each)).toBe(items[at - 1] ?? -1)
          })
        })
      }
    }),
  )
})
