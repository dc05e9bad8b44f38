import fs from 'node:fs'
import { expect, test } from 'vitest'
import { adviseHugePages } from '../../../src/linux/memory.ts'

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
