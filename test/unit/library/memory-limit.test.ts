import { expect, test } from 'vitest'
import { MemoryLimit } from '../../../src/library/memory-limit.ts'

function limited(): { limit: MemoryLimit; sizes: number[]; forgone: () => number } {
  const sizes: number[] = []
  let forgone = 0
  const arena = { slackBytes: 5, forgoHugePages: () => forgone++ } as never
  const pages = { resize: (bytes: number) => sizes.push(bytes), tellLimit: () => {} } as never
  return { limit: new MemoryLimit(arena, pages, 1000, 100), sizes, forgone: () => forgone }
}

test('what is said while memory is short is yielded, too, and had in full later', () => {
  const { limit, sizes } = limited()
  limit.yieldTo(0.5)
  expect(limit.bytes).toBe(500)
  limit.resize(800)
  expect(limit.bytes).toBe(400)
  limit.yieldTo(0.125)
  expect(limit.bytes).toBe(100)
  limit.yieldTo(1)
  expect(limit.bytes).toBe(800)
  expect(sizes).toEqual([495, 395, 95, 795])
})

test('huge pages are forgone before it shrinks, and only then', () => {
  const { limit, forgone } = limited()
  limit.resize(1000)
  expect(forgone()).toBe(0)
  limit.yieldTo(0.9)
  expect(forgone()).toBe(1)
})
