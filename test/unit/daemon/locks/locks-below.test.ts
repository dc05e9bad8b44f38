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

const descriptorsOfFile = (): number =>
  fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`) === file
    } catch {
      return false
    }
  }).length

it('the first exclusive lock of an owner keeps his shared ones', () => {
  const below = new LinuxLocksBelow((_, flags) => open(file, flags))
  const outside = new LinuxLocksBelow((_, flags) => open(file, flags))
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
  const below = new LinuxLocksBelow((_, flags) => open(file, unfit(flags)))
  const outside = new LinuxLocksBelow((_, flags) => open(file, flags))
  expect(below.set(base)).toBe(true)
  expect(below.set({ ...base, ...elsewhere })).toBe(false)
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(false)
  below.drop('f', 'a')
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(true)
  outside.drop('f', 'a')
})

it('locks of an open file, on ranges and on the whole, do not disturb each other', () => {
  const below = new LinuxLocksBelow((_, flags) => open(file, flags))
  const outside = new LinuxLocksBelow((_, flags) => open(file, flags))
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
  const below = new LinuxLocksBelow((_, flags) => open(file, flags))
  const outside = new LinuxLocksBelow((_, flags) => open(file, flags))
  expect(outside.set({ ...base, type: F_WRLCK })).toBe(true)
  expect(outside.set({ ...base, isWhole: true, type: F_WRLCK })).toBe(true)
  const before = descriptorsOfFile()
  for (const isWhole of [false, true]) expect(below.set({ ...base, isWhole })).toBe(false)
  expect(descriptorsOfFile()).toBe(before)
  outside.drop('f', 'a')
})
