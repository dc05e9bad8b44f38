import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AddressIndex } from '../../../src/homes/address-index.ts'

const ADDRESSES = 5000
const owners = ['a', 'b', 'c', 'fixed', 'd'] as const
type Owner = (typeof owners)[number]
const mayReplace = (present: Owner) => present !== 'fixed'

const range = fc.tuple(fc.nat(ADDRESSES - 1), fc.nat(60)).map(([start, length]) => [start, start + length] as const)
const command = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      do: fc.constant('set' as const),
      range,
      owner: fc.constantFrom(...owners),
      offset: fc.nat(999),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), owner: fc.constantFrom(...owners) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('visit' as const), range }) },
)

describe('AddressIndex', () => {
  it('does what a plain array of owners does', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 400, size: 'max' }), (commands) => {
        const index = new AddressIndex<Owner>()
        const model: ({ owner: Owner; offset: number } | undefined)[] = new Array(ADDRESSES + 100)
        for (const step of commands) {
          if (step.do === 'set') {
            const [start, end] = step.range
            index.set(start, end, step.owner, step.offset, mayReplace)
            for (let i = start; i < end; i++) {
              const present = model[i]?.owner
              if (present === undefined || present === step.owner || mayReplace(present)) {
                model[i] = { owner: step.owner, offset: step.offset + (i - start) }
              }
            }
          } else if (step.do === 'delete') {
            index.delete(step.owner)
            for (let i = 0; i < model.length; i++) if (model[i]?.owner === step.owner) model[i] = undefined
            expect(index.has(step.owner)).toBe(false)
          } else {
            const seen: (typeof model)[number][] = []
            index.visit(step.range[0], step.range[1], (owner, start, end, offset) => {
              for (let i = start; i < end; i++) seen[i] = { owner, offset: offset + (i - start) }
            })
            for (let i = step.range[0]; i < step.range[1]; i++) expect(seen[i]).toEqual(model[i])
            expect(seen.length).toBeLessThanOrEqual(step.range[1])
          }
        }
        index.checkInvariants()
        const all: (typeof model)[number][] = new Array(model.length)
        for (const span of index.toArray()) {
          for (let i = span.start; i < span.end; i++)
            all[i] = { owner: span.owner, offset: span.offset + (i - span.start) }
        }
        expect(all).toEqual(model)
      }),
      { numRuns: 150 },
    )
  })

  it('holds many spans in chunks, in whatever order they come, and forgets them all', () => {
    for (const order of ['up', 'down', 'mixed']) {
      const index = new AddressIndex<string>()
      const n = 20_000
      for (let i = 0; i < n; i++) {
        const k = order === 'up' ? i : order === 'down' ? n - 1 - i : (i * 7919) % n
        index.set(k * 10, k * 10 + 5, k % 2 === 0 ? 'even' : 'odd', k, () => true)
      }
      expect(index.size).toBe(n)
      index.checkInvariants()
      index.delete('even')
      expect(index.size).toBe(n / 2)
      index.checkInvariants()
      index.delete('odd')
      expect(index.size).toBe(0)
      expect(index.toArray()).toEqual([])
    }
  })
})
