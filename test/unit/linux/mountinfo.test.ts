import { expect, test } from 'vitest'
import { mountIdsOf, parseMountInfo, readMountInfo } from '../../../src/linux/mountinfo.ts'
import { statxPath } from '../../../src/linux/statx.ts'

test('every field, with optional ones in between or none, and escapes', () => {
  const text = [
    '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:7 master:1 - ext3 /dev/ro\\134ot ro,errors=continue',
    '37 36 0:44 / /a rw - btrfs /dev/loop0 rw,subvol=/x',
    '',
  ].join('\n')
  expect(parseMountInfo(text)).toEqual([
    {
      id: 36,
      parentId: 35,
      device: '98:0',
      root: '/mnt1',
      mountpoint: '/mnt 2',
      options: ['rw', 'noatime'],
      type: 'ext3',
      source: '/dev/ro\\ot',
      superOptions: ['ro', 'errors=continue'],
    },
    {
      id: 37,
      parentId: 36,
      device: '0:44',
      root: '/',
      mountpoint: '/a',
      options: ['rw'],
      type: 'btrfs',
      source: '/dev/loop0',
      superOptions: ['rw', 'subvol=/x'],
    },
  ])
})

test('statx names a mount that is in the list', () => {
  const { mountId } = statxPath('/proc')
  const mount = readMountInfo().find(({ id }) => id === mountId)
  expect(mount?.type).toBe('proc')
})

test('a path leads to a mount that is in the list; to none where there is no directory', () => {
  const { mountId } = statxPath('/proc')
  expect(mountIdsOf('/proc')?.id).toBe(mountId)
  expect(mountIdsOf('/proc/version')).toBeUndefined()
  expect(mountIdsOf('/proc/nothing')).toBeUndefined()
})
