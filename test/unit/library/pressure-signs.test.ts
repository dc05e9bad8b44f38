/** What is read of how short memory is, in directories as Linux shows them. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { LinuxSigns } from '../../../src/library/pressure-signs.ts'
import { MEBIBYTE } from '../../support/files.ts'

const roots: string[] = []
afterEach(() => {
  for (const root of roots.splice(0)) fs.rmSync(root, { recursive: true })
})

/** A directory with such files. */
function rootOf(files: Record<string, string | number>): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-signs-'))
  roots.push(root)
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), `${content}\n`)
  }
  return root
}

/** Files of a cgroup of version 2, in MiB. */
function second(directory: string, max: number | 'max', high: number | 'max', current: number, stat: object) {
  const size = (mebibytes: number | 'max') => (mebibytes === 'max' ? 'max' : mebibytes * MEBIBYTE)
  const lines = Object.entries(stat).map(([name, mebibytes]) => `${name} ${mebibytes * MEBIBYTE}`)
  return {
    [`sys/fs/cgroup${directory}/memory.max`]: size(max),
    [`sys/fs/cgroup${directory}/memory.high`]: size(high),
    [`sys/fs/cgroup${directory}/memory.current`]: size(current),
    [`sys/fs/cgroup${directory}/memory.stat`]: lines.join('\n'),
  }
}

/** The same of version 1. */
function first(directory: string, limit: number, used: number, cache: number, shmem: number) {
  return {
    [`sys/fs/cgroup/memory${directory}/memory.limit_in_bytes`]: limit * MEBIBYTE,
    [`sys/fs/cgroup/memory${directory}/memory.usage_in_bytes`]: used * MEBIBYTE,
    // What the group's own processes have, and with those below it.
    [`sys/fs/cgroup/memory${directory}/memory.stat`]: `cache 0\nshmem 0\ntotal_cache ${cache * MEBIBYTE}\ntotal_shmem ${shmem * MEBIBYTE}`,
  }
}

test('version 2: the least limit, and without what the kernel can drop', () => {
  const root = rootOf({
    'proc/self/cgroup': '0::/a',
    ...second('/a', 400, 200, 180, { anon: 100, file: 60, shmem: 10, slab_reclaimable: 20 }),
  })
  const room = new LinuxSigns(root).room()
  expect(room).toEqual({ fill: 110 / 200, bytesLeft: 90 * MEBIBYTE })
})

test('version 2: limits of those that it lies in count, the fullest and the one with the least left', () => {
  const root = rootOf({
    'proc/self/cgroup': '0::/slice/service/inner',
    ...second('/slice', 1000, 'max', 900, {}),
    ...second('/slice/service', 100, 'max', 50, {}),
    ...second('/slice/service/inner', 'max', 'max', 40, {}),
  })
  expect(new LinuxSigns(root).room()).toEqual({ fill: 0.9, bytesLeft: 50 * MEBIBYTE })
})

test('version 1, alone and beside version 2, which has no memory then', () => {
  const groups = first('/pod/box', 150, 140, 30, 10)
  const own = '9:name=systemd:/other\n4:memory:/pod/box\n3:cpu,cpuacct:/pod'
  const wanted = { fill: 120 / 150, bytesLeft: 30 * MEBIBYTE }
  expect(new LinuxSigns(rootOf({ 'proc/self/cgroup': own, ...groups })).room()).toEqual(wanted)
  const beside = { 'sys/fs/cgroup/unified/memory.pressure': 'some avg10=7.00 avg60=0.00 avg300=0.00 total=0' }
  const both = new LinuxSigns(rootOf({ 'proc/self/cgroup': `${own}\n0::/`, ...groups, ...beside }))
  expect(both.room()).toEqual(wanted)
  expect(both.some()).toBe(7)
  // Several controllers in one.
  const joint = own.replace('4:memory', '4:memory,hugetlb')
  expect(new LinuxSigns(rootOf({ 'proc/self/cgroup': joint, ...groups })).room()).toEqual(wanted)
  // One further up.
  const above = new LinuxSigns(rootOf({ 'proc/self/cgroup': own, ...groups, ...first('/pod', 100, 99, 0, 0) }))
  expect(above.room()).toEqual({ fill: 0.99, bytesLeft: MEBIBYTE })
})

test('in a container, where the path is that outside of it, the mounted group is its own', () => {
  for (const own of ['/docker/12ab', '/../outside']) {
    const signs = new LinuxSigns(rootOf({ 'proc/self/cgroup': `4:memory:${own}`, ...first('', 100, 50, 0, 0) }))
    expect(signs.room(), own).toEqual({ fill: 0.5, bytesLeft: 50 * MEBIBYTE })
    const later = new LinuxSigns(rootOf({ 'proc/self/cgroup': `0::${own}`, ...second('', 100, 'max', 50, {}) }))
    expect(later.room(), own).toEqual({ fill: 0.5, bytesLeft: 50 * MEBIBYTE })
  }
})

test('PSI of the cgroup, else of the machine', () => {
  const line = (avg10: number) => `some avg10=${avg10} avg60=0.00 avg300=0.00 total=0\nfull avg10=1.00`
  const machine = { 'proc/self/cgroup': '0::/a', 'proc/pressure/memory': line(3.25) }
  const files = { ...machine, 'sys/fs/cgroup/a/memory.pressure': line(12.5) }
  expect(new LinuxSigns(rootOf(files)).some()).toBe(12.5)
  expect(new LinuxSigns(rootOf(machine)).some()).toBe(3.25)
})

test('where nothing tells, nothing is known', () => {
  const none = new LinuxSigns(rootOf({}))
  expect([none.some(), none.room()]).toEqual([undefined, undefined])
  const unlimited = rootOf({ 'proc/self/cgroup': '0::/a', ...second('/a', 'max', 'max', 50, {}) })
  expect(new LinuxSigns(unlimited).room()).toBeUndefined()
})
