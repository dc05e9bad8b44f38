import { expect, test } from 'vitest'
import { isFileAtRest } from '../../../src/library/at-rest.ts'

const SECOND = 1_700_000_000
const nowAfter = (ms: number) => SECOND * 1000 + ms
const writers = (isOpenForWriting: boolean | undefined) => ({ isOpenForWriting: () => isOpenForWriting })

test.each([
  ['a fine ctime, just now', 5_000_000n, false, 15, false],
  ['a fine ctime, of a while ago', 5_000_000n, false, 30, true],
  ['somebody has it open for writing', 5_000_000n, true, 1e6, false],
  ['a ctime in seconds, of a moment ago', 0n, false, 1_500, false],
  ['a ctime in seconds, older than its granule', 0n, false, 2_500, true],
  ['nobody tells who writes, a moment ago', 5_000_000n, undefined, 4_000, false],
  ['nobody tells who writes, long ago', 5_000_000n, undefined, 6_000, true],
] as const)('%s', (_, nanoseconds, isWritten, ms, expected) => {
  const stamp = { ctimeNs: BigInt(SECOND) * 1_000_000_000n + nanoseconds, size: 1 }
  expect(isFileAtRest(writers(isWritten), 0, stamp, nowAfter(ms))).toBe(expected)
})
