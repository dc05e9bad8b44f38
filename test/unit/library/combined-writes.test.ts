/** Combined writes of a file in memory, whose calls are short, late, and fail, against a model that writes one after the other. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CombinedWrites, combine } from '../../../src/library/combined-writes.ts'

const SIZE = 64

interface Range {
  readonly start: number
  readonly length: number
}

const range = fc
  .record({ start: fc.nat(SIZE - 1), length: fc.integer({ min: 1, max: 12 }) })
  .map(({ start, length }) => ({ start, length: Math.min(length, SIZE - start) }))

/** Write `i` has the bytes i + 1; who wrote none of a byte is 0. */
const bytesOf = (i: number, { length }: Range) => new Uint8Array(length).fill(i + 1)
const touches = ({ start, length }: Range, byte: number) => start <= byte && byte < start + length

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code })
}

/** A file whose calls are under way until the test lets them go on. */
class TestFile {
  readonly content = new Uint8Array(SIZE)
  readonly calls: (Range & { readonly buffers: number })[] = []
  /** Cannot be written. */
  bad = new Set<number>()
  /** A call writes no more. */
  bytesMax = Number.POSITIVE_INFINITY
  /** All that the device has room for. */
  room = Number.POSITIVE_INFINITY
  readonly #underWay = new Set<Range>()
  readonly #wait: () => Promise<unknown>

  constructor(wait: () => Promise<unknown> = async () => {}) {
    this.#wait = wait
  }

  readonly write = async (buffers: readonly Uint8Array[], start: number): Promise<number> => {
    const bytes = Buffer.concat(buffers)
    const call = { start, length: bytes.length, buffers: buffers.length }
    for (const other of this.#underWay)
      expect(other.start + other.length <= start || start + bytes.length <= other.start, 'calls overlap').toBe(true)
    this.#underWay.add(call)
    expect(this.#underWay.size).toBeLessThanOrEqual(2)
    this.calls.push(call)
    await this.#wait()
    this.#underWay.delete(call)
    let done = 0
    for (; done < Math.min(bytes.length, this.bytesMax); done++) {
      const code = this.bad.has(start + done) ? 'EIO' : start + done >= this.room ? 'ENOSPC' : undefined
      if (code !== undefined && done === 0) throw systemError(code)
      if (code !== undefined) break
      this.content[start + done] = bytes[done]!
    }
    return done
  }

  /** As if it were cut off at `start`, and grew again: no call may be under way. */
  async cut(start: number, fails: boolean): Promise<void> {
    const call = { start: 0, length: SIZE }
    expect(this.#underWay.size, 'calls under way').toBe(0)
    this.#underWay.add(call)
    await this.#wait()
    this.#underWay.delete(call)
    if (fails) throw systemError('EIO')
    this.content.fill(0, start)
  }
}

const noSpace = async () => {
  throw new Error('nobody asked for space')
}

test('what is combined leaves the file as one after the other would, and each byte is written once', () => {
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 30 }), (ranges) => {
      const expected = new Uint8Array(SIZE)
      const written = new Uint8Array(SIZE)
      const times = new Uint8Array(SIZE)
      const writes = ranges.map((it, i) => {
        expected.set(bytesOf(i, it), it.start)
        return { bytes: bytesOf(i, it), start: it.start, end: it.start + it.length }
      })
      const runs = combine(writes)
      for (const { start, end, buffers } of runs) {
        const bytes = Buffer.concat(buffers)
        expect(bytes.length).toBe(end - start)
        written.set(bytes, start)
        for (let byte = start; byte < end; byte++) times[byte]!++
      }
      expect(written).toEqual(expected)
      expect(times).toEqual(expected.map((by) => (by === 0 ? 0 : 1)))
      // As few as there can be, in the file's order.
      for (let i = 1; i < runs.length; i++) expect(runs[i]!.start).toBeGreaterThan(runs[i - 1]!.end)
      for (const write of writes)
        expect(
          runs.filter(({ start, end, writes: of }) => of.includes(write) && start <= write.start && write.end <= end),
        ).toHaveLength(1)
      for (const { writes: of } of runs) expect(of).toEqual(writes.filter((write) => of.includes(write)))
    }),
  )
})

test('writes resolve when their bytes are in the file, in the order in which they came; those that cannot be written reject, and no others', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ range, later: fc.boolean() }), { minLength: 1, maxLength: 25 }),
      fc.integer({ min: 1, max: SIZE }),
      fc.uniqueArray(fc.nat(SIZE - 1), { maxLength: 3 }),
      async (scheduler, asked, bytesMax, bad) => {
        const file = new TestFile(() => scheduler.schedule(Promise.resolve()))
        file.bytesMax = bytesMax
        file.bad = new Set(bad)
        const writes = new CombinedWrites(file.write, noSpace)
        const ranges = asked.map(({ range }) => range)
        const isWritten = ranges.map(() => false)
        const settled: Promise<void>[] = []
        /** Each byte is of somebody who came no earlier than the last one whose write has resolved. */
        const check = () => {
          for (let byte = 0; byte < SIZE; byte++) {
            const last = ranges.findLastIndex((it, i) => isWritten[i]! && touches(it, byte))
            expect(file.content[byte]! - 1).toBeGreaterThanOrEqual(last)
            if (file.content[byte]! > 0) expect(touches(ranges[file.content[byte]! - 1]!, byte)).toBe(true)
          }
        }
        for (const [i, { range, later }] of asked.entries()) {
          if (later && scheduler.count() > 0) await scheduler.waitOne()
          const isBad = bad.some((byte) => touches(range, byte))
          settled.push(
            writes.write(bytesOf(i, range), range.start).then(
              () => {
                expect(isBad, `write ${i}`).toBe(false)
                isWritten[i] = true
                check()
              },
              (error) => expect({ isBad, code: error.code }).toEqual({ isBad: true, code: 'EIO' }),
            ),
          )
        }
        await scheduler.waitFor(Promise.all(settled))
        check()
        if (bad.length > 0) return
        const expected = new Uint8Array(SIZE)
        for (const [i, it] of ranges.entries()) expected.set(bytesOf(i, it), it.start)
        expect(file.content).toEqual(expected)
      },
    ),
  )
})

test('what changes the length is made alone, after what was asked for before it and before what was asked for later', async () => {
  const asked = fc.oneof(
    range.map((it) => ({ ...it, isCut: false })),
    fc.nat(SIZE).map((start) => ({ start, length: 0, isCut: true })),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ asked, later: fc.boolean(), fails: fc.boolean() }), { minLength: 2, maxLength: 25 }),
      async (scheduler, all) => {
        const file = new TestFile(() => scheduler.schedule(Promise.resolve()))
        const writes = new CombinedWrites(file.write, noSpace)
        const expected = new Uint8Array(SIZE)
        const settled: Promise<unknown>[] = []
        for (const [i, { asked: it, later, fails }] of all.entries()) {
          if (later && scheduler.count() > 0) await scheduler.waitOne()
          if (!it.isCut) {
            expected.set(bytesOf(i, it), it.start)
            settled.push(writes.write(bytesOf(i, it), it.start))
          } else {
            const cut = writes.alone(() => file.cut(it.start, fails))
            if (!fails) expected.fill(0, it.start)
            settled.push(fails ? expect(cut).rejects.toThrow('EIO') : cut)
          }
        }
        await scheduler.waitFor(Promise.all(settled))
        expect(file.content).toEqual(expected)
      },
    ),
  )
})

test('one call for all that waits side by side', async () => {
  const file = new TestFile()
  const writes = new CombinedWrites(file.write, noSpace)
  await Promise.all(
    Array.from({ length: SIZE / 2 }, (_, i) => writes.write(bytesOf(i, { start: 0, length: 2 }), 2 * i)),
  )
  expect(file.calls).toEqual([
    { start: 0, length: 2, buffers: 1 },
    { start: 2, length: 2, buffers: 1 },
    { start: 4, length: SIZE - 4, buffers: SIZE / 2 - 2 },
  ])
})

test('what is written over before it began is not written', async () => {
  const file = new TestFile()
  const writes = new CombinedWrites(file.write, noSpace)
  await Promise.all(Array.from({ length: 40 }, (_, i) => writes.write(bytesOf(i, { start: 0, length: 8 }), 0)))
  expect(file.calls.length).toBeLessThanOrEqual(3)
  expect(file.content.subarray(0, 8)).toEqual(new Uint8Array(8).fill(40))
})

test('a call that fails once is tried again, write by write', async () => {
  const file = new TestFile()
  let isBroken = true
  const writes = new CombinedWrites(async (buffers, position) => {
    if (!isBroken || buffers.length === 1) return file.write(buffers, position)
    isBroken = false
    throw systemError('EIO')
  }, noSpace)
  await Promise.all(Array.from({ length: 10 }, (_, i) => writes.write(bytesOf(i, { start: 0, length: 4 }), 3 * i)))
  expect(isBroken).toBe(false)
  expect([...file.content.subarray(0, 10)]).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4])
})

test('where there is no space, it is made; who finds none all the same is told, and who came later over room is not', async () => {
  const file = new TestFile()
  file.room = 10
  let freed = 0
  const writes = new CombinedWrites(file.write, async () => {
    if (freed++ === 0) file.room = 24
  })
  const results = await Promise.allSettled(
    Array.from({ length: 8 }, (_, i) => writes.write(bytesOf(i, { start: 0, length: 4 }), 4 * i)),
  )
  expect(results.map(({ status }) => status)).toEqual([...Array(6).fill('fulfilled'), 'rejected', 'rejected'])
  expect(results[7]).toMatchObject({ reason: { code: 'ENOSPC' } })
  await writes.write(bytesOf(0, { start: 0, length: 24 }), 0)
})
