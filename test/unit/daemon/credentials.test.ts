import { expect, test } from 'vitest'
import { capabilitiesIn, groupsIn, isMapped } from '../../../src/daemon/credentials.ts'

/** What Linux writes, with a blank behind each group. */
const status = (groups: string) => `Name:\tcat\nFDSize:\t64\nGroups:\t${groups} \nNStgid:\t4711\nNSpid:\t4711\n`

test('the supplementary groups of a process are those on their line of its status', () => {
  expect([...groupsIn(status('0'))]).toEqual([0])
  expect([...groupsIn(status('100 4294967294'))]).toEqual([100, 4_294_967_294])
})

test('who has none is in none: neither in root’s nor in that with the number of his process', () => {
  expect([...groupsIn(status(''))]).toEqual([])
  expect([...groupsIn('Groups:\t\nNStgid:\t4711\n')]).toEqual([])
  expect([...groupsIn('Name:\tcat\n')]).toEqual([])
})

test('the capabilities of a process are the lowest 32 of its effective ones', () => {
  expect(capabilitiesIn('CapPrm:\tffffffffffffffff\nCapEff:\t0000000100000002\nCapBnd:\tffffffffffffffff\n')).toBe(2)
  expect(capabilitiesIn('CapEff:\t000001ffffffffff\n') & (1 << 27)).toBe(1 << 27)
  expect(capabilitiesIn('Name:\tcat\n')).toBe(0)
})

test('a user is known in a name space as far as its map goes', () => {
  expect(isMapped('         0          0 4294967295\n', 300_000)).toBe(true)
  const container = '         0       1000          1\n         1     100001       1000\n'
  for (const id of [1000, 100_001, 101_000]) expect(isMapped(container, id)).toBe(true)
  for (const id of [0, 999, 1001, 100_000, 101_001]) expect(isMapped(container, id)).toBe(false)
  expect(isMapped('', 0)).toBe(false)
})
