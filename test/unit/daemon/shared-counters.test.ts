import { expect, test } from 'vitest'
import { allocateCounters, attachCounters } from '../../../src/daemon/shared-counters.ts'

test('what one thread adds, others read by the same name', () => {
  const names = ['seen', 'moved'] as const
  const memory = allocateCounters(names)
  const [counting, reading] = [attachCounters(names, memory), attachCounters(names, memory)]
  expect([reading.seen, reading.moved]).toEqual([0, 0])
  counting.seen += 2 ** 40
  counting.moved++
  expect([reading.seen, reading.moved]).toEqual([2 ** 40, 1])
})
