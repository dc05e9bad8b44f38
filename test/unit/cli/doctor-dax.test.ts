import { expect, test } from 'vitest'
import { type DaxFacts, explainDax } from '../../../src/cli/doctor/dax.ts'
import { STATE } from '../../../src/cli/doctor/finding.ts'

const DISK: DaxFacts = {
  ...{
    isDax: false,
    option: undefined,
    device: '/dev/vda1',
    isDeviceDax: false,
    blockSize: 4096,
    isFlagged: false,
    isLostByClones: false,
  },
}
const PMEM: DaxFacts = { ...DISK, device: '/dev/pmem0', isDeviceDax: true }

test('nobody meant to have it on a disk', () => {
  expect(explainDax(DISK)).toBeUndefined()
  expect(explainDax({ ...DISK, isDeviceDax: undefined, device: 'tmpfs' })).toBeUndefined()
})

test('it is there', () => {
  expect(explainDax({ ...PMEM, isDax: true, option: 'dax=always' })).toMatchObject({ id: 'dax', state: STATE.OK })
})

test('clones lose it with an older kernel', () => {
  const finding = explainDax({ ...PMEM, isDax: true, option: 'dax=always', isLostByClones: true })
  expect(finding).toMatchObject({ state: STATE.LIMITED, remedy: 'Linux 6.2 or newer' })
})

test.each<[string, DaxFacts, RegExp, RegExp]>([
  ['asked for on a disk', { ...DISK, option: 'dax=always' }, /cannot do it \(it was asked for\)/, /persistent memory/],
  [
    'asked for on a disk with XFS',
    { ...DISK, option: 'dax=never' },
    /cannot do it \(the mount says dax=never/,
    /persistent/,
  ],
  ['a directory with the flag on a disk', { ...DISK, isFlagged: true }, /cannot do it/, /persistent memory/],
  ['a raw namespace', { ...PMEM, isDeviceDax: false, option: 'dax=never' }, /cannot do it/, /ndctl .*--mode=fsdax/],
  ['small blocks', { ...PMEM, option: 'dax=never', blockSize: 1024 }, /blocks of 1024/, /mkfs/],
  ['a mount that says no', { ...PMEM, option: 'dax=never' }, /dax=never/, /dax=always/],
  ['no option, no flag', PMEM, /do not get the flag/, /chattr \+x/],
  ['by file, no flag', { ...PMEM, option: 'dax=inode' }, /do not get the flag/, /chattr \+x/],
  ['by file, with the flag', { ...PMEM, option: 'dax=inode', isFlagged: true }, /has the flag/, /dmesg/],
  ['always, and nobody knows why not', { ...PMEM, option: 'dax=always' }, /says dax=always/, /dmesg/],
])('%s', (_, facts, means, remedy) => {
  const finding = explainDax(facts)!
  expect(finding).toMatchObject({ id: 'dax', state: STATE.LIMITED })
  expect(finding.means).toMatch(means)
  expect(finding.remedy).toMatch(remedy)
})
