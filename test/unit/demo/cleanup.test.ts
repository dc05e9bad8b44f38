import { expect, test } from 'vitest'
import { Cleanup, waitUntil } from '../../../src/demo/cleanup.ts'

test('steps run once, last first, whether or not one fails', () => {
  const cleanup = new Cleanup()
  const done: string[] = []
  cleanup.defer(() => done.push('a'))
  const early = cleanup.defer(() => done.push('b'))
  cleanup.defer(() => {
    throw new Error('c failed')
  })
  cleanup.defer(() => done.push('d'))
  early()
  early()
  expect(() => cleanup.run()).toThrow('c failed')
  cleanup.run()
  expect(done).toEqual(['b', 'd', 'a'])
})

test('waiting ends with the condition, or with the time', () => {
  let asked = 0
  expect(waitUntil(() => ++asked === 3, 10_000)).toBe(true)
  expect(asked).toBe(3)
  expect(waitUntil(() => false, 50)).toBe(false)
})
