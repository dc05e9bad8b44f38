import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { WantedLock } from '../../../../src/daemon/locks/lock-table.ts'
import { LinuxLocksBelow } from '../../../../src/daemon/locks/locks-below.ts'
import { O_ACCMODE, O_RDWR, O_WRONLY, open } from '../../../../src/linux/file.ts'
import { F_RDLCK, F_UNLCK, F_WRLCK } from '../../../../src/linux/locks.ts'

let directory: string
let file: string
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-locks-'))
  file = path.join(directory, 'file')
  fs.writeFileSync(file, '')
})
afterEach(() => fs.rmSync(directory, { recursive: true }))

const base: WantedLock = {
  key: 'f',
  inoLow: 1,
  slot: 0,
  open: 1,
  owner: 'a',
  pid: 1,
  type: F_RDLCK,
  start: 0n,
  end: 9n,
  isWhole: false,
  waits: false,
  held: [],
}
const shared = { owner: 'a', pid: 1, exclusive: false, start: 0n, end: 9n }
const elsewhere = { type: F_WRLCK, start: 100n, end: 109n, held: [shared] }

const locksBelow = (flagsFor = (flags: number) => flags, descriptorsMax = 100): LinuxLocksBelow =>
  new LinuxLocksBelow((_, flags) => open(file, flagsFor(flags)), descriptorsMax)

const descriptorsOfFile = (): number =>
  fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`) === file
    } catch {
      return false
    }
  }).length

it('the first exclusive lock of an owner keeps his shared ones', () => {
  const below = locksBelow()
  const outside = locksBelow()
  expect(below.set(base)).toBe(true)
  expect(below.set({ ...base, ...elsewhere })).toBe(true)
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(false)
  expect(outside.set(base)).toBe(true)
  for (const one of [below, outside]) one.drop('f', 'a')
  expect(descriptorsOfFile()).toBe(0)
})

it('where shared locks cannot be kept, the exclusive one is refused', () => {
  // Nothing opened for writing only can hold a shared lock.
  const unfit = (flags: number) => ((flags & O_ACCMODE) === O_RDWR ? (flags & ~O_ACCMODE) | O_WRONLY : flags)
  const below = locksBelow(unfit)
  const outside = locksBelow()
  expect(below.set(base)).toBe(true)
  expect(below.set({ ...base, ...elsewhere })).toBe(false)
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(false)
  below.drop('f', 'a')
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(true)
  outside.drop('f', 'a')
})

it('locks of an open file, on ranges and on the whole, do not disturb each other', () => {
  const below = locksBelow()
  const outside = locksBelow()
  expect(below.set({ ...base, isWhole: true, type: F_WRLCK })).toBe(true)
  expect(below.set({ ...base, type: F_WRLCK })).toBe(true)
  expect(outside.set({ ...base, isWhole: true })).toBe(false)
  expect(below.set({ ...base, isWhole: true, type: F_UNLCK })).toBe(true)
  expect(outside.set({ ...base, isWhole: true })).toBe(true)
  expect(outside.set(base)).toBe(false)
  for (const one of [below, outside]) one.drop('f', 'a')
  expect(descriptorsOfFile()).toBe(0)
})

it('who is refused leaves no descriptor behind', () => {
  const below = locksBelow()
  const outside = locksBelow()
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(true)
  expect(outside.set({ ...base, isWhole: true, type: F_WRLCK })).toBe(true)
  const before = descriptorsOfFile()
  for (const isWhole of [false, true]) expect(below.set({ ...base, isWhole })).toBe(false)
  expect(descriptorsOfFile()).toBe(before)
  outside.drop('f', 'a')
})

it('takes no more descriptors than it may; whose lock got none holds nothing below, and may have the next that is free', () => {
  const below = locksBelow(undefined, 2)
  const outside = locksBelow()
  for (const owner of ['a', 'b', 'c', 'd']) expect(below.set({ ...base, owner })).toBe(true)
  expect(descriptorsOfFile()).toBe(2)
  expect(below.find({ ...base, owner: 'e', type: F_WRLCK })).toMatchObject({ exclusive: false, start: 0n, end: 9n })
  // Who has a descriptor for reading may change it for one for writing: that is one, as before.
  below.drop('f', 'b')
  expect(below.set({ ...base, type: F_WRLCK })).toBe(true)
  expect(below.set({ ...base, owner: 'b' })).toBe(false)
  below.drop('f', 'a')
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(true)
  outside.drop('f', 'a')
  for (const owner of ['c', 'd']) expect(below.set({ ...base, owner })).toBe(true)
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(false)
  for (const owner of ['c', 'd']) below.drop('f', owner)
  expect(descriptorsOfFile()).toBe(0)
})
