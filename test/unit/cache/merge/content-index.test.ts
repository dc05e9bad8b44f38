/** The content index against a list of (frame, hash, domain). */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ContentIndex } from '../../../../src/cache/merge/content-index.ts'

const FRAMES = 24

const frame = fc.integer({ min: 0, max: FRAMES - 1 })
const hash = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }))
const domain = fc.integer({ min: 0, max: 2 })
const commands = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('add' as const), frame, hash, domain }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), frame }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('find' as const), hash, domain, wanted: frame }) },
  ),
  { maxLength: 200 },
)

test('it finds what was added with that hash in that domain, and nothing else', () => {
  fc.assert(
    fc.property(commands, fc.integer(), (list, secret) => {
      const index = new ContentIndex(FRAMES, secret)
      const model = new Map<number, { readonly hash: number; readonly domain: number }>()
      for (const command of list) {
        if (command.do === 'add' && !model.has(command.frame)) {
          index.add(command.frame, command.hash, command.domain)
          model.set(command.frame, { hash: command.hash | 0, domain: command.domain })
        } else if (command.do === 'remove') {
          index.remove(command.frame)
          model.delete(command.frame)
        } else if (command.do === 'find') {
          const seen: number[] = []
          index.find(command.hash, command.domain, (it) => {
            seen.push(it)
            return false
          })
          const all = [...model].filter(([, it]) => it.hash === (command.hash | 0) && it.domain === command.domain)
          // Of very many with one hash it looks at some.
          if (all.length < 16) expect(seen.sort((a, b) => a - b)).toEqual(all.map(([it]) => it).sort((a, b) => a - b))
          else for (const it of seen) expect(all.map(([other]) => other)).toContain(it)
          const found = index.find(command.hash, command.domain, (it) => it === command.wanted)
          if (found >= 0) expect(found).toBe(command.wanted)
        }
        expect(index.size).toBe(model.size)
        for (let it = 0; it < FRAMES; it++) expect(index.has(it)).toBe(model.has(it))
        index.checkInvariants()
      }
    }),
    { numRuns: Number(process.env.SAMEPAGE_TEST_RUNS ?? 300) },
  )
})

test('it takes less than 64 bytes a frame, and no more when it is full', () => {
  const frames = 100_000
  const index = new ContentIndex(frames, 1)
  const { bytes } = index
  expect(bytes / frames).toBeLessThan(16.1)
  for (let it = 0; it < frames; it++) index.add(it, it * 7, 0)
  expect(index.bytes).toBe(bytes)
})

test('equal hashes of two domains lie in different chains, whose places depend on the secret', () => {
  const compared = (secret: number) => {
    const index = new ContentIndex(1024, secret)
    for (let it = 0; it < 500; it++) index.add(it, 5, 1)
    let count = 0
    index.find(5, 2, () => {
      count++
      return false
    })
    return count
  }
  expect(compared(1)).toBe(0)
  expect(compared(2)).toBe(0)
})
