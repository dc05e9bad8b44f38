import { expect, test } from 'vitest'
import { automountPaths, partialMountpoints } from '../../../src/inspect/mounts.ts'
import { parseMountInfo } from '../../../src/linux/mountinfo.ts'

const MOUNTS = parseMountInfo(`\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:20 / /idle rw - autofs systemd-1 rw
23 21 0:21 / /used rw - autofs systemd-1 rw
24 23 8:2 / /used rw - xfs /dev/sdb1 rw
25 21 8:1 /etc/hosts /box/hosts rw - ext4 /dev/sda1 rw
26 21 0:30 / /net rw - nfs4 server:/ rw
27 26 8:1 /etc/hosts /net/hosts rw - ext4 /dev/sda1 rw
28 21 0:30 /a/file /box/file rw - nfs4 server:/ rw
`)

test('an automount point is one only while nothing is mounted on it', () => {
  expect([...automountPaths(MOUNTS)]).toEqual(['/idle'])
})

test('what is looked at because a file may be mounted there lies nowhere on a server', () => {
  expect(partialMountpoints(MOUNTS)).toEqual(['/box/hosts'])
})
