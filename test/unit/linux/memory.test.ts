import fs from 'node:fs'
import { expect, test } from 'vitest'
import {
  adviseHugePages,
  forgoHugePages,
  giveBackMemory,
  givesHugePages,
  HUGE_PAGE_BYTES,
  takeMemory,
  viewMemory,
} from '../../../src/linux/memory.ts'

const MEBIBYTE = 2 ** 20

/** KiB of this process that are to be in huge pages (`hg` among its VmFlags). */
function advisedKib(): number {
  let sum = 0
  let size = 0
  for (const line of fs.readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const [, kib] = /^Size: +(\d+) kB/.exec(line) ?? []
    if (kib !== undefined) size = Number(kib)
    if (/^VmFlags:.* hg\b/.test(line)) sum += size
  }
  return sum
}

/** Huge pages that were split so far, on the whole machine. */
const splits = () => Number(/^thp_split_page (\d+)$/m.exec(fs.readFileSync('/proc/vmstat', 'latin1'))?.[1] ?? 0)

/** VmFlags of the mapping that begins at `address`. */
function flagsAt(address: number): string[] {
  const mappings = fs.readFileSync('/proc/self/smaps', 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
  const mapping = mappings.find((it) => it.startsWith(`${address.toString(16)}-`)) ?? ''
  return /^VmFlags: (.*)$/m.exec(mapping)?.[1]?.split(' ') ?? []
}

test('huge pages are asked for under what a buffer covers whole, and nothing else', () => {
  const before = advisedKib()
  const small = new SharedArrayBuffer(MEBIBYTE)
  adviseHugePages(small)
  expect(advisedKib()).toBe(before)
  const large = new SharedArrayBuffer(16 * MEBIBYTE)
  adviseHugePages(large)
  const advised = advisedKib() - before
  // The ends of the buffer lie in huge pages with something else.
  expect(advised).toBeGreaterThanOrEqual(12 * 1024)
  expect(advised).toBeLessThanOrEqual(16 * 1024)
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
    const splitBefore = splits()
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
    if (hugePages && givesHugePages()) expect(splits()).toBeGreaterThan(splitBefore)
    memory!.fill(8)
    expect(memory!.every((byte) => byte === 8)).toBe(true)
  }
})
