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

test('finds each by device and mount, by a number that is its own', () => {
  fc.assert(
    fc.property(fc.array(device, { maxLength: 30 }), (devices) => {
      const table = new FilesystemTable(FilesystemTable.allocate(64))
      const seen = new Map<string, { number: number; subvolume: number }>()
      for (const { major, minor, mountId, subvolume } of devices) {
        const stat = statOf(major, minor, mountId)
        const name = `${major}:${minor}:${mountId}`
        const known = seen.get(name)
        expect(table.find(stat)).toBe(known?.number ?? -1)
        const isAnother =
          known !== undefined && ![known.subvolume, subvolume].includes(0) && known.subvolume !== subvolume
        const number = table.add(stat, subvolume, minor === 1)
        if (known !== undefined && !isAnother) expect(number).toBe(known.number)
        else seen.set(name, { number, subvolume })
        expect(table.count).toBe(seen.size)
        expect(table.find(stat)).toBe(number)
        expect(table.hasHandles(number)).toBe(minor === 1)
        expect(table.isOfMount(number)).toBe(mountId === devices[0]?.mountId)
        expect(table.source).toBe(seen.values().next().value?.number)
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
        const all = [table.source]
        for (const [i, subvolume] of subvolumes.entries()) all.push(table.add(statOf(1, i, 7), subvolume, true))
        for (const high of [0, 255, 2 ** 24, 2 ** 31, ...highs])
          expect(table.shownInoHigh(table.source, high)).toBe(high)
        const shown = new Set<number>()
        for (const fs of all) for (const high of new Set(highs)) shown.add(table.shownInoHigh(fs, high))
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

test('a subvolume is found by its id, whether the table has it or not; one whose id is no prefix only where it has', () => {
  const table = new FilesystemTable(FilesystemTable.allocate(64))
  table.add(statOf(0, 50, 1), 0, true)
  const crossed = table.add(statOf(0, 51, 2), 0, false)
  const small = table.add(statOf(0, 51, 1), 257, true)
  const large = table.add(statOf(0, 52, 1), 2 ** 40, true)
  expect([0, 257, 2 ** 40, 2 ** 23, 2 ** 23 + 1].map((id) => table.findSubvolume(id))).toEqual([
    -1,
    small,
    large,
    -1,
    -1,
  ])
  expect(new FilesystemTable(FilesystemTable.allocate(1)).findSubvolume(257)).toBe(small)
  expect([crossed, small, large].map((number) => table.isOfMount(number))).toEqual([false, true, true])
})

test('a subvolume that has the device number of a deleted one is another, in its record; how the deleted one’s inodes are shown is as it was', () => {
  const table = new FilesystemTable(FilesystemTable.allocate(2))
  table.add(statOf(0, 50, 1), 0, true)
  const numbers = [2 ** 40 + 257, 257, 258, 2 ** 40].map((id) => {
    const before = table.find(statOf(0, 51, 1))
    if (before >= 0) expect(table.isOfSubvolume(before, id)).toBe(false)
    const number = table.add(statOf(0, 51, 1), id, true)
    expect(table.find(statOf(0, 51, 1))).toBe(number)
    expect(table.isOfSubvolume(number, id)).toBe(true)
    expect(table.add(statOf(0, 51, 1), id, true)).toBe(number)
    table.checkInvariants()
    return number
  })
  const prefix = (number: number) => table.shownInoHigh(number, 0) / 2 ** 8
  expect(numbers.map(prefix)).toEqual([2 ** 23, 257, 258, 2 ** 23 + 1])
  // A deleted one is nobody's any more; the source's own, whose id is not kept, is never another.
  expect(table.isOfSubvolume(numbers[0]!, 2 ** 40 + 257)).toBe(false)
  expect(table.isOfSubvolume(table.source, 5)).toBe(true)
})

test('has room for any number of subvolumes, each with the same number whenever it is seen', () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 8 }), fc.array(fc.integer({ min: 256, max: 280 })), (capacity, ids) => {
      const table = new FilesystemTable(FilesystemTable.allocate(capacity))
      const source = statOf(0, 1, 1)
      const crossed = statOf(0, 2, 2)
      const others = [table.add(source, 0, true), table.add(crossed, 0, false)]
      for (const id of ids) {
        const stat = statOf(0, id, 1)
        const known = table.find(stat)
        const number = known >= 0 ? known : table.add(stat, id, true)
        expect([table.shownInoHigh(number, 0), number]).toEqual([id << 8, table.findSubvolume(id)])
        expect(table.find(stat)).toBe(number)
        expect([table.find(source), table.find(crossed)]).toEqual(others)
        table.checkInvariants()
      }
      expect(table.count).toBe(Math.min(capacity, 2 + new Set(ids).size))
    }),
  )
})

test('says when it is full of what would get another number', () => {
  const table = new FilesystemTable(FilesystemTable.allocate(3))
  const [, second, third] = [0, 1, 2].map((minor) => table.add(statOf(0, minor, 1), 0, false))
  expect([3, 1, 2].map((minor) => table.add(statOf(0, minor, 1), 0, false))).toEqual([-1, second, third])
})

test('the check finds what is wrong', () => {
  const wrong: [word: number, value: number, message: RegExp][] = [
    [8 + 4, 1, /0 has the numbers of the source/],
    [8 + 8 + 4, 0, /1 has the numbers of the source/],
    [8 + 16 + 4, 2 ** 23, /2 has the numbers of another one/],
    [8 + 16 + 4, 2 ** 23 + 2, /2 has numbers that were not given out/],
    [8 + 16 + 1, 1, /2 is in the table twice/],
    [3, 1, /a record is being written/],
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

  test('find each by its own number while records are used again', async () => {
    const seed = testSeed()
    const buffer = FilesystemTable.allocate(20)
    new FilesystemTable(buffer).add(statOf(3, 0, 5), 0, true)
    await hammer({
      data: [buffer, buffer, buffer],
      imports: { 'daemon/filesystem-table.js': 'FilesystemTable' },
      seed,
      body: `
        const table = new FilesystemTable(data)
        for (let i = 0; i < 50_000; i++) {
          const id = 1 + random(40)
          const stat = { devMajor: 3, devMinor: id, mountId: 5 }
          let number = table.find(stat)
          if (number < 0) number = table.add(stat, id, true)
          if (number !== table.findSubvolume(id)) throw new Error(id + ' is ' + number)
        }`,
    })
    new FilesystemTable(buffer).checkInvariants()
  })
})
