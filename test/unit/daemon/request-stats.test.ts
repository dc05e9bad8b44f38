/** Counters of requests, and what status makes of them. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HISTOGRAM_BUCKETS, RequestStats } from '../../../src/daemon/request-stats.ts'

const WORKERS = 3

const record = fc.record({
  worker: fc.nat(WORKERS - 1),
  opcode: fc.integer({ min: 1, max: 52 }),
  error: fc.constantFrom(0, 0, 0, 2, 38),
  microseconds: fc.oneof(fc.nat(100), fc.nat(2 ** 26)),
})

test('sums are those of a list of all requests', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 200 }), (requests) => {
      const stats = new RequestStats(RequestStats.allocate(WORKERS))
      for (const { worker, opcode, error, microseconds } of requests)
        stats.record(worker, opcode, error, microseconds / 1e6)
      for (let opcode = 0; opcode < 64; opcode++) {
        const own = requests.filter((request) => request.opcode === opcode)
        const got = stats.opcode(opcode)
        expect([got.count, got.errors]).toEqual([own.length, own.filter(({ error }) => error !== 0).length])
        expect(got.seconds).toBeCloseTo(
          own.reduce((sum, { microseconds }) => sum + microseconds / 1e6, 0),
          6,
        )
        expect(got.histogram.length).toBe(HISTOGRAM_BUCKETS)
        expect(got.histogram.reduce((sum, count) => sum + count, 0)).toBe(own.length)
      }
    }),
  )
})

test('a bucket holds what took less than its power of two, and not less than half of it', () => {
  const bucketOf = (microseconds: number) => {
    const stats = new RequestStats(RequestStats.allocate(1))
    stats.record(0, 1, 0, microseconds / 1e6)
    return stats.opcode(1).histogram.indexOf(1)
  }
  expect([0, 0.4, 1.5, 2.5, 3.5, 4.5, 1000, 1_000_000].map(bucketOf)).toEqual([0, 0, 1, 2, 2, 3, 10, 20])
  // What took longer than all is in the last one.
  expect(bucketOf(3600e6)).toBe(HISTOGRAM_BUCKETS - 1)
})

test('bytes and failures are counted by worker, told as sums, and do not touch one another', () => {
  const stats = new RequestStats(RequestStats.allocate(WORKERS))
  for (let worker = 0; worker < WORKERS; worker++) {
    stats.addFromHomes(worker, 2 ** 40)
    stats.addFromFiles(worker, 10 ** worker)
    stats.addCopied(worker, worker)
    stats.addFailure(worker)
    stats.record(worker, 63, 5, 1)
  }
  expect([stats.bytesFromHomes, stats.bytesFromFiles, stats.bytesCopied, stats.failures]).toEqual([
    WORKERS * 2 ** 40,
    111,
    3,
    3,
  ])
  expect(stats.opcode(63).count).toBe(WORKERS)
  expect(stats.opcode(62).count).toBe(0)
})
