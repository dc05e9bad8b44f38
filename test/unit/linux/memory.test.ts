import fs from 'node:fs'
import { expect, test } from 'vitest'
import {
  adviseHugePages,
  createFixedMemory,
  createMemory,
  forgoHugePages,
  giveBackMemory,
  givesHugePages,
  HUGE_PAGE_BYTES,
  leaveMemory,
  takeMemory,
  viewMemory,
} from '../../../src/linux/memory.ts'
import { mappingsOf, splitHugePages } from '../../support/mappings.ts'

const MEBIBYTE = 2 ** 20

/** VmFlags of the mapping that begins at `address`. */
const flagsAt = (address: number) => mappingsOf('self').find(({ start }) => start === address)?.flags

/** Bytes of this process that are to be in huge pages. */
function advisedBytes(): number {
  const advised = mappingsOf('self').filter(({ flags }) => flags.includes('hg'))
  return advised.reduce((sum, { bytes }) => sum + bytes, 0)
}

test('huge pages are asked for under what a buffer covers whole, and nothing else', () => {
  const before = advisedBytes()
  const small = new SharedArrayBuffer(MEBIBYTE)
  adviseHugePages(small)
  expect(advisedBytes()).toBe(before)
  const large = new SharedArrayBuffer(16 * MEBIBYTE)
  adviseHugePages(large)
  const advised = advisedBytes() - before
  // The ends of the buffer lie in huge pages with something else.
  expect(advised).toBeGreaterThanOrEqual(12 * MEBIBYTE)
  expect(advised).toBeLessThanOrEqual(16 * MEBIBYTE)
  expect(small.byteLength + large.byteLength).toBe(17 * MEBIBYTE)
})

test('memory that is taken is zeros, begins a huge page, and what is given back of it is zeros again', () => {
  for (const hugePages of [false, true]) {
    const bytes = 8 * MEBIBYTE + 3 * 4096
    const address = takeMemory(bytes, hugePages)
    expect(address % HUGE_PAGE_BYTES).toBe(0)
    expect(flagsAt(address)).toContain(hugePages ? 'hg' : 'nh')
    const [memory, ...others] = viewMemory(address, bytes)
    expect(others).toEqual([])
    expect(memory!.length).toBe(bytes)
    expect(memory!.every((byte) => byte === 0)).toBe(true)
    memory!.fill(7)
    const splitBefore = splitHugePages()
    if (hugePages) {
      forgoHugePages(memory!)
      expect(flagsAt(address)).toContain('nh')
    }
    const pages = [0, 511, 512, 1300, bytes / 4096 - 1]
    for (const page of pages) giveBackMemory(memory!.subarray(page * 4096, (page + 1) * 4096))
    giveBackMemory(memory!.subarray(4 * MEBIBYTE, 6 * MEBIBYTE))
    for (let page = 0; page < bytes / 4096; page++) {
      const isGivenBack = pages.includes(page) || (page >= 1024 && page < 1536)
      const expected = isGivenBack ? 0 : 7
      if (!memory!.subarray(page * 4096, (page + 1) * 4096).every((byte) => byte === expected))
        expect.fail(`page ${page}, ${hugePages ? 'huge pages' : 'small pages'}`)
    }
    if (hugePages && givesHugePages()) expect(splitHugePages()).toBeGreaterThan(splitBefore)
    memory!.fill(8)
    expect(memory!.every((byte) => byte === 8)).toBe(true)
  }
})

test('memory that is used no more is zeros for who still has a view, and makes next to no mappings', () => {
  const bytes = 64 << 10
  const rounds = 400
  const before = mappingsOf('self').length
  const views: Uint8Array[] = []
  for (let i = 0; i < rounds; i++) {
    const address = takeMemory(bytes, i % 2 === 1)
    const [memory] = viewMemory(address, bytes)
    memory!.fill(7)
    giveBackMemory(memory!)
    leaveMemory(address, bytes)
    // Who does what he must not does not end the process.
    views.push(memory!)
  }
  // Two or three a round, if each stayed. Where what is beside is in use they cannot become one; and the process has others that come and go.
  expect(mappingsOf('self').length - before).toBeLessThan(rounds / 2)
  for (const view of views) {
    expect(view.every((byte) => byte === 0)).toBe(true)
    view[0] = 1
    expect(view[0]).toBe(1)
  }
})

test.each([createMemory, createFixedMemory])('%o: no descriptor is left of memory that cannot be made', (create) => {
  const descriptors = () => fs.readdirSync('/proc/self/fd').length
  const before = descriptors()
  for (let i = 0; i < 10; i++)
    expect(() => create('samepage-test', -1)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  expect(descriptors()).toBe(before)
})
