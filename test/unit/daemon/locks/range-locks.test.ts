import fc from 'fast-check'
import { expect, it } from 'vitest'
import { RangeLocks } from '../../../../src/daemon/locks/range-locks.ts'

const OWNERS = ['a', 'b', 'c']
const BYTES = 24

const range = fc
  .tuple(fc.nat(BYTES - 1), fc.nat(BYTES - 1))
  .map(([x, y]) => ({ start: BigInt(Math.min(x, y)), end: BigInt(Math.max(x, y)) }))
const step = fc.record({ owner: fc.constantFrom(...OWNERS), unlock: fc.boolean(), exclusive: fc.boolean(), range })

it('range locks are what an array of bytes says', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const locks = new RangeLocks()
      // Per byte and owner: 1 shared, 2 exclusive.
      const model = Array.from({ length: BYTES }, () => new Map<string, number>())
      for (const { owner, unlock, exclusive, range: at } of steps) {
        const bytes = model.slice(Number(at.start), Number(at.end) + 1)
        if (unlock) {
          locks.unset(owner, at.start, at.end)
          for (const byte of bytes) byte.delete(owner)
        } else {
          const wanted = { owner, pid: 1, exclusive, ...at }
          const excluded = bytes.some((byte) =>
            [...byte].some(([other, how]) => other !== owner && (exclusive || how === 2)),
          )
          expect(locks.conflicts(wanted).length > 0).toBe(excluded)
          if (excluded) continue
          locks.set(wanted)
          for (const byte of bytes) byte.set(owner, exclusive ? 2 : 1)
        }
        locks.check()
        const told = Array.from({ length: BYTES }, () => new Map<string, number>())
        for (const lock of locks.all) {
          for (let byte = lock.start; byte <= lock.end; byte++)
            told[Number(byte)]!.set(lock.owner, lock.exclusive ? 2 : 1)
        }
        expect(told).toEqual(model)
        for (const name of OWNERS) expect(locks.isHeldBy(name)).toBe(model.some((byte) => byte.has(name)))
      }
    }),
    { numRuns: 500 },
  )
})
