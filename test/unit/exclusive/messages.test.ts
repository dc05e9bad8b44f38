import { expect, test } from 'vitest'
import { parseToMount } from '../../../src/exclusive/messages.ts'

const want = {
  type: 'want',
  id: 1,
  range: { start: 0, end: null },
  readers: 'wait',
  wait: true,
  timeoutMs: null,
} as const
const revoke = { type: 'revoke', id: 2, range: { start: 0, end: 4096 }, deadlineMs: 0 } as const
const parsed = (message: unknown) => parseToMount(JSON.stringify(message))

test('what is well formed', () => {
  for (const message of [want, { ...want, holder: 'h', timeoutMs: 5 }, revoke, { type: 'attend', id: 3 }])
    expect(parsed(message)).toEqual(message)
})

test('a wrong number is for who sent it to hear', () => {
  for (const wrong of [0.5, -3, 2 ** 53]) {
    for (const change of [{ timeoutMs: wrong }, { range: { start: wrong, end: null } }])
      expect(parsed({ ...want, ...change })).toEqual({ type: 'wrong number', id: 1 })
    for (const change of [{ deadlineMs: wrong }, { range: { start: 0, end: wrong } }])
      expect(parsed({ ...revoke, ...change })).toEqual({ type: 'wrong number', id: 2 })
  }
})

test('what is none of the protocol’s', () => {
  for (const change of [{ id: 0.5 }, { id: undefined }, { range: null }, { timeoutMs: '5' }, { wait: 1 }])
    expect(parsed({ ...want, ...change })).toBeUndefined()
  for (const line of ['', 'null', '[]', '{}', '{"id":1,"type":"hello"}']) expect(parseToMount(line)).toBeUndefined()
})
