import { expect, test } from 'vitest'
import {
  countOf,
  formatBytes,
  formatCount,
  formatSeconds,
  formatShare,
  parseSeconds,
  parseShare,
} from '../../../src/util/human.ts'

test('people read', () => {
  expect([0, 1023, 1024, 1536, 104_857_600, 2 ** 50].map(formatBytes)).toEqual([
    ...['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '100 MiB', '1.0 PiB'],
  ])
  expect(formatCount(1_234_567)).toBe('1,234,567')
  expect([0, 1, 2000].map((count) => countOf(count, 'file'))).toEqual(['0 files', '1 file', '2,000 files'])
  expect([1, 2].map((count) => countOf(count, 'directory', 'directories'))).toEqual(['1 directory', '2 directories'])
  expect([0, 0.0001, 0.003, 0.5, 1].map(formatShare)).toEqual(['0%', '0%', '0.3%', '50%', '100%'])
  expect([1e-5, 0.0123, 5].map(formatSeconds)).toEqual(['10 µs', '12.3 ms', '5.0 s'])
})

test('people write', () => {
  expect(['2s', '500ms', '1.5m', '2', '1h', '', 's', '-1s', '1d'].map(parseSeconds)).toEqual([
    ...[2, 0.5, 90, 2, 3600, undefined, undefined, undefined, undefined],
  ])
  expect(['5%', '0.05', '100%', '1', '101%', '2', 'x'].map(parseShare)).toEqual([
    ...[0.05, 0.05, 1, 1, undefined, undefined, undefined],
  ])
})
