/** File systems and subvolumes: each found again, and inode numbers kept apart. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FilesystemTable } from '../../../src/daemon/filesystem-table.ts'
import { Statx } from '../../../src/linux/statx.ts'
import { hammer, testSeed } from '../../support/hammer.ts'
import { describeWith } from '../../support/requires.ts'

const STATX_MNT_ID = 0x1000

function statOf(major: number, minor: number, mountId: number): Statx {
  const stat = new Statx()
  stat.words[0] = STATX_MNT_ID
  stat.words[34] = major
  stat.words[35] = minor
  stat.words[36] = mountId % 2 ** 32
  stat.words[37] = Math.floor(mountId / 2 ** 32)
  return stat
}

const device = fc.record({
  major: fc.constantFrom(0, 8, 0xfff),
  minor: fc.constantFrom(1, 2, 0xfffff),
  mountId: fc.constantFrom(7, 8, 2 ** 40 + 7),
  subvolume: fc.constantFrom(0, 256, 257, 2 ** 23 - 1, 2 ** 23, 2 ** 40),
})

test('is a list in which each is found by device and mount', () => {
  fc.assert(
    fc.property(fc.array(device, { maxLength: 30 }), (devices) => {
      const table = new FilesystemTable(FilesystemTable.allocate(64))
      const seen: string[] = []
      const ids: number[] = []
      for (const { major, minor, mountId, subvolume } of devices) {
        const stat = statOf(major, minor, mountId)
        const name = `${major}:${minor}:${mountId}`
        const known = seen.indexOf(name)
        expect(table.find(stat)).toBe(known)
        const isAnother = known >= 0 && ids[known] !== 0 && subvolume !== 0 && ids[known] !== subvolume
        const isNew = known < 0 || isAnother
        expect(table.add(stat, subvolume, minor === 1)).toBe(isNew ? seen.length : known)
        if (isAnother) seen[known] = 'replaced'
        if (isNew) seen.push(name)
        if (isNew) ids.push(subvolume)
        expect(table.count).toBe(seen.length)
        expect(table.find(stat)).toBe(seen.indexOf(name))
        expect(table.hasHandles(table.find(stat))).toBe(minor === 1)
        expect(table.isOfMount(table.find(stat), mountId)).toBe(true)
        expect(table.isOfMount(table.find(stat), mountId + 2 ** 33)).toBe(false)
        table.checkInvariants()
      }
    }),
  )
})

test('numbers shown for different file systems differ, those of the source are its own', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(2 ** 24), { minLength: 1, maxLength: 20 }),
      fc.array(fc.nat(255)),
      (subvolumes, highs) => {
        const table = new FilesystemTable(FilesystemTable.allocate(64))
        table.add(statOf(0, 1, 7), 0, true)
        // A subvolume's prefix is its id; what has none of its own, or too large a one, gets one that no subvolume has.
        for (const [i, subvolume] of subvolumes.entries()) table.add(statOf(1, i, 7), subvolume, true)
        for (const high of [0, 255, 2 ** 24, 2 ** 31, ...highs]) expect(table.shownInoHigh(0, high)).toBe(high)
        const shown = new Set<number>()
        for (let fs = 0; fs <= subvolumes.length; fs++)
          for (const high of new Set(highs)) shown.add(table.shownInoHigh(fs, high))
        expect(shown.size).toBe((subvolumes.length + 1) * new Set(highs).size)
      },
    ),
  )
})

test('a subvolume’s numbers are the same in every mount', () => {
  for (const before of [0, 3]) {
    const table = new FilesystemTable(FilesystemTable.allocate(64))
    for (let i = 0; i <= before; i++) table.add(statOf(9, i, 1), 300 + i, true)
    const index = table.add(statOf(0, 50, 1), 256, true)
    expect(table.shownInoHigh(index, 0)).toBe(256 << 8)
  }
})

test('a subvolume is found by its id where its files have handles; the source’s own is not', () => {
  const table = new FilesystemTable(FilesystemTable.allocate(64))
  table.add(statOf(0, 50, 1), 0, true)
  table.add(statOf(0, 51, 2), 257, false)
  table.add(statOf(0, 51, 1), 257, true)
  table.add(statOf(0, 52, 1), 258, true)
  expect([0, 256, 257, 258, 259].map((id) => table.findSubvolume(id))).toEqual([-1, -1, 2, 3, -1])
})

test('a subvolume that has the device number of a deleted one is another; the deleted one’s record still says how its inodes are shown', () => {
  const table = new FilesystemTable(FilesystemTable.allocate(64))
  table.add(statOf(0, 50, 1), 0, true)
  for (const id of [2 ** 40 + 257, 257, 258, 2 ** 40]) {
    const before = table.find(statOf(0, 51, 1))
    if (before >= 0) expect(table.isOfSubvolume(before, id)).toBe(false)
    const index = table.add(statOf(0, 51, 1), id, true)
    expect(index).toBe(table.count - 1)
    expect(table.find(statOf(0, 51, 1))).toBe(index)
    expect(table.isOfSubvolume(index, id)).toBe(true)
    expect(table.add(statOf(0, 51, 1), id, true)).toBe(index)
    table.checkInvariants()
  }
  expect([257, 258].map((id) => table.findSubvolume(id))).toEqual([2, 3])
  expect([2, 3].map((index) => table.shownInoHigh(index, 0))).toEqual([257 << 8, 258 << 8])
  // The source's own, whose id is not kept, is never another.
  expect(table.isOfSubvolume(0, 5)).toBe(true)
})

test('says when it is full', () => {
  const table = new FilesystemTable(FilesystemTable.allocate(2))
  expect([0, 1, 2, 1].map((minor) => table.add(statOf(0, minor, 1), 0, false))).toEqual([0, 1, -1, 1])
})

test('the check finds what is wrong', () => {
  const wrong: [word: number, value: number, message: RegExp][] = [
    [8 + 4, 1, /0 has the numbers of the source/],
    [8 + 8 + 4, 0, /1 has the numbers of the source/],
    [8 + 16 + 4, 2 ** 23, /2 has the numbers of another one/],
    [8 + 16 + 4, 2 ** 23 + 2, /2 has numbers that were not given out/],
    [8 + 16 + 1, 1, /2 is in the table twice/],
    [1, 9, /9 of 4/],
  ]
  for (const [word, value, message] of wrong) {
    const buffer = FilesystemTable.allocate(4)
    const table = new FilesystemTable(buffer)
    for (const minor of [0, 1, 2]) table.add(statOf(8, minor, 7), 0, false)
    table.checkInvariants()
    new Int32Array(buffer)[word] = value
    expect(() => table.checkInvariants()).toThrow(message)
  }
})

describeWith(['build'], 'threads', () => {
  test('that see the same ones for the first time give each one index', async () => {
    const seed = testSeed()
    const buffer = FilesystemTable.allocate(300)
    const results = await hammer<number[]>({
      data: [buffer, buffer, buffer, buffer],
      imports: { 'daemon/filesystem-table.js': 'FilesystemTable' },
      seed,
      body: `
        const table = new FilesystemTable(data)
        const found = new Array(300).fill(-1)
        for (let i = 0; i < 20_000; i++) {
          const minor = random(300)
          const stat = { devMajor: 3, devMinor: minor, mountId: 5 }
          let index = table.find(stat)
          if (index < 0) index = table.add(stat, minor, true)
          if (found[minor] >= 0 && found[minor] !== index) throw new Error(minor + ' is ' + found[minor] + ' and ' + index)
          found[minor] = index
        }
        return found`,
    })
    for (const found of results) expect(found, `seed ${seed}`).toEqual(results[0])
    expect(new Set(results[0]).size).toBe(300)
    const table = new FilesystemTable(buffer)
    expect(table.count).toBe(300)
    table.checkInvariants()
  })
})
