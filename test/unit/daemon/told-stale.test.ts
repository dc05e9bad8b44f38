/** Who was told ESTALE gets what he then finds, once, and nobody else does; what is held for him is given back. */
import fs from 'node:fs'
import os from 'node:os'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ToldStale } from '../../../src/daemon/told-stale.ts'

const [THREAD, OTHER] = [4711, 4712]
/** Of the same cell as {@link THREAD}. */
const RIVAL = THREAD + 1024
const [DIRECTORY, OLD, NEW] = [0, 7, 8]

let told: ToldStale
beforeEach(() => {
  vi.useFakeTimers()
  told = new ToldStale(ToldStale.allocate())
})
afterEach(() => {
  vi.useRealTimers()
})

const held = () => fs.openSync(os.devNull, 'r')
const isOpen = (fd: number) => fs.existsSync(`/proc/self/fd/${fd}`)

test('each thread is remembered by itself, though they ask for one file', () => {
  for (const thread of [THREAD, OTHER]) told.tell(thread, OLD, true)
  for (const thread of [THREAD, OTHER]) expect(told.opensAgain(thread, OLD)).toBe(true)
  told.end(THREAD)
  expect([told.opensAgain(THREAD, OLD), told.opensAgain(OTHER, OLD)]).toEqual([false, true])
  told.tell(RIVAL, OLD, true)
  told.tell(THREAD, OLD, true)
  expect([told.opensAgain(THREAD, OLD), told.opensAgain(RIVAL, OLD)]).toEqual([true, false])
})

test('what is found is held until the call ends, and no other file is opened for it', () => {
  told.tell(THREAD, OLD, true)
  const [first, second] = [held(), held()]
  told.found(THREAD, OLD, first)
  told.found(THREAD, NEW, second)
  expect([isOpen(first), isOpen(second)]).toEqual([false, true])
  expect([told.opensFound(THREAD, OLD), told.opensFound(THREAD, NEW), told.opensFound(OTHER, NEW)]).toEqual([
    false,
    true,
    false,
  ])
  told.end(THREAD)
  expect([isOpen(second), told.opensFound(THREAD, NEW), told.isLooking(THREAD)]).toEqual([false, false, false])
})

test('what has no name is not had by what was told, and its directory may be made a file in', () => {
  told.tell(THREAD, OLD, true)
  expect(told.makesMissed(THREAD, DIRECTORY)).toBe(false)
  told.missed(THREAD, DIRECTORY)
  expect([told.opensAgain(THREAD, OLD), told.makesMissed(THREAD, DIRECTORY), told.isLooking(THREAD)]).toEqual([
    false,
    true,
    true,
  ])
  told.missed(THREAD, DIRECTORY)
  expect([told.makesMissed(THREAD, DIRECTORY), told.isLooking(THREAD)]).toEqual([true, false])
})

test('after a call that was no open an open gets only what was found just now', () => {
  told.tell(THREAD, OLD, false)
  expect(told.opensAgain(THREAD, OLD)).toBe(false)
  told.found(THREAD, NEW, -1)
  expect(told.opensFound(THREAD, NEW)).toBe(true)
  vi.advanceTimersByTime(6)
  expect(told.opensFound(THREAD, NEW)).toBe(false)
})

test('who does not go on is forgotten at the second sweep', () => {
  told.tell(THREAD, OLD, true)
  const fd = held()
  told.found(THREAD, NEW, fd)
  told.sweep()
  expect([isOpen(fd), told.opensFound(THREAD, NEW)]).toEqual([true, true])
  told.sweep()
  expect([isOpen(fd), told.opensFound(THREAD, NEW)]).toEqual([false, false])
})
