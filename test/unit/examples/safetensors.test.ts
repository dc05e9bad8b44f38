import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DTYPES, encodeHeader, SafetensorsError } from '../../../examples/safetensors/format.mjs'
import { Safetensors } from '../../../examples/safetensors/reader.mjs'
import { PageCache } from '../../../src/index.ts'

const seed = Number(process.env.SAMEPAGE_SEED ?? 1)

let directory: string
let cache: PageCache

beforeAll(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-safetensors-'))
  // Small: a round trip evicts what the one before has left.
  cache = await PageCache.create({ memory: '1MiB', yieldUnderPressure: false })
})

afterAll(async () => {
  cache.checkInvariants()
  await cache.close()
  fs.rmSync(directory, { recursive: true })
})

let files = 0

function writeFile(...parts: Uint8Array[]): string {
  const file = path.join(directory, `${files++}.safetensors`)
  fs.writeFileSync(file, Buffer.concat(parts))
  return file
}

/** A file with this header, as it is, and so much data. */
function withHeader(header: string | object, dataBytes = 0): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return writeFile(length, json, Buffer.alloc(dataBytes, 7))
}

const dtype = fc.constantFrom(...(Object.keys(DTYPES) as (keyof typeof DTYPES)[]))
const tensors = fc.uniqueArray(
  fc.record({
    name: fc.string({ maxLength: 12 }).filter((name) => name !== '__metadata__' && name !== '__proto__'),
    dtype,
    shape: fc.oneof(fc.array(fc.nat({ max: 9 }), { maxLength: 4 }), fc.tuple(fc.nat({ max: 20_000 }))),
  }),
  { selector: ({ name }) => name, maxLength: 6 },
)

describe(`round trips, seed ${seed}`, () => {
  test('tensors of any type and shape, in any order, come back bit by bit', async () => {
    await fc.assert(
      fc.asyncProperty(tensors, fc.boolean(), fc.infiniteStream(fc.integer()), async (list, isAligned, words) => {
        const data = list.map(({ dtype, shape }) => {
          const size = shape.reduce((a, b) => a * b, DTYPES[dtype].BYTES_PER_ELEMENT)
          const step = words.next().value as number
          return Uint8Array.from({ length: size }, (_, i) => Math.imul(i + step, 2654435761) >>> 24)
        })
        const header = encodeHeader(list, { of: 'a test' })
        // Not padded, elements lie anywhere.
        const text = header.subarray(8).toString().trimEnd()
        const file = isAligned ? writeFile(header, ...data) : withHeaderAndData(text, data)
        const model = await Safetensors.open(cache, file)
        try {
          expect([...model.tensors.keys()].sort()).toEqual(list.map(({ name }) => name).sort())
          expect(model.metadata).toEqual({ of: 'a test' })
          for (const [i, { name, dtype, shape }] of list.entries()) {
            expect(model.tensors.get(name)).toMatchObject({ dtype, shape, byteLength: data[i]!.length })
            const array = await model.array(name)
            expect(array).toBeInstanceOf(DTYPES[dtype])
            expect(bytesOf(array).equals(data[i]!)).toBe(true)
            const view = await model.view(name)
            expect(Buffer.concat(view.parts).equals(data[i]!)).toBe(true)
            expect(Buffer.concat(view.arrays.map(bytesOf)).equals(data[i]!)).toBe(true)
            for (const array of view.arrays) expect(array).toBeInstanceOf(DTYPES[dtype])
            view.dispose()
            if (shape[0] !== undefined && shape[0] > 0) {
              const row = model.rowSync(name, shape[0] - 1)
              expect(Buffer.concat(row.parts).equals(data[i]!.subarray(-row.tensor.byteLength || Infinity))).toBe(true)
              row.dispose()
            }
          }
        } finally {
          await model.close()
          fs.rmSync(file)
        }
      }),
      { seed, numRuns: 150 },
    )
  })

  test('a file with a few bytes changed or cut off is read or refused, and nothing else', async () => {
    const header = encodeHeader([
      { name: 'a', dtype: 'F32', shape: [2, 3] },
      { name: 'b', dtype: 'U8', shape: [5] },
    ])
    const sound = Buffer.concat([header, Buffer.alloc(29, 3)])
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: header.length - 1 }), fc.nat({ max: 255 })), { maxLength: 3 }),
        fc.nat({ max: sound.length }),
        async (changes, length) => {
          const bytes = Buffer.from(sound)
          for (const [at, byte] of changes) bytes[at] = byte
          const file = writeFile(bytes.subarray(0, length))
          try {
            const model = await Safetensors.open(cache, file)
            for (const { position, byteLength } of model.tensors.values())
              expect(position + byteLength).toBeLessThanOrEqual(length)
            await model.close()
          } catch (error) {
            expect(error).toBeInstanceOf(SafetensorsError)
          } finally {
            fs.rmSync(file)
          }
        },
      ),
      { seed, numRuns: 300 },
    )
  })
})

function withHeaderAndData(text: string, data: Uint8Array[]): string {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)))
  return writeFile(length, Buffer.from(text), ...data)
}

function bytesOf(array: ArrayBufferView): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength)
}

describe('bad files are refused with a reason', () => {
  const tensor = (change: object) => ({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...change } })
  const huge = Buffer.alloc(8)
  huge.writeBigUInt64LE(2n ** 63n)

  test.each<[string, () => string, RegExp]>([
    ['an empty file', () => writeFile(), /too short/],
    ['half a length', () => writeFile(Buffer.alloc(7)), /too short/],
    ['a header of 2^63 bytes', () => writeFile(huge), /more than 100000000/],
    ['a header beyond the end', () => writeFile(Buffer.from([9, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(8)), /beyond/],
    ['no header', () => withHeader(''), /no JSON/],
    ['no JSON', () => withHeader('{"a":'), /no JSON/],
    ['no UTF-8', () => writeFile(Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0xff])), /no JSON/],
    ['a list', () => withHeader([]), /no object/],
    ['a tensor that is no object', () => withHeader({ a: 1 }), /'a' is no object/],
    ['an unknown type', () => withHeader(tensor({ dtype: 'F31' }), 8), /unknown type "F31"/],
    ['a type of every object', () => withHeader(tensor({ dtype: 'toString' }), 8), /unknown type/],
    ['a negative size', () => withHeader(tensor({ shape: [-2] }), 8), /no valid shape/],
    ['half an element', () => withHeader(tensor({ shape: [1.5] }), 8), /no valid shape/],
    ['a product beyond all numbers', () => withHeader(tensor({ shape: [2 ** 40, 2 ** 40] }), 8), /needs/],
    ['three offsets', () => withHeader(tensor({ data_offsets: [0, 4, 8] }), 8), /no valid offsets/],
    ['an end before the beginning', () => withHeader(tensor({ data_offsets: [8, 0] }), 8), /no valid offsets/],
    ['too few bytes', () => withHeader(tensor({ data_offsets: [0, 4] }), 4), /needs 8 bytes and has 4/],
    ['data beyond the end', () => withHeader(tensor({}), 7), /the tensors end at/],
    ['data of no tensor', () => withHeader(tensor({}), 9), /the tensors end at/],
    ['a gap', () => withHeader(tensor({ data_offsets: [4, 12] }), 12), /not at/],
    [
      'bytes of two tensors',
      () => withHeader({ ...tensor({}), b: { dtype: 'U8', shape: [4], data_offsets: [4, 8] } }, 8),
      /not at/,
    ],
    ['metadata of numbers', () => withHeader({ __metadata__: { a: 1 } }), /no object of strings/],
  ])('%s', async (_, write, reason) => {
    const file = write()
    const refused = Safetensors.open(cache, file)
    await expect(refused).rejects.toThrow(reason)
    await expect(refused).rejects.toMatchObject({ name: 'SafetensorsError', code: 'ERR_SAFETENSORS', path: file })
    expect(cache.stats().filesOpen).toBe(0)
  })

  test('a file that is not there is an error of the system', async () => {
    await expect(Safetensors.open(cache, path.join(directory, 'gone'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a tensor or a row that is not there', async () => {
    const model = await Safetensors.open(cache, withHeader(tensor({}), 8))
    await expect(model.array('b')).rejects.toThrow("no tensor 'b'")
    expect(() => model.rowSync('a', 2)).toThrow('no row 2')
    expect(() => model.rowSync('a', -1)).toThrow('no row -1')
    await model.close()
  })
})

test('only what is asked for is read', async () => {
  const list = [
    { name: 'wanted', dtype: 'U8', shape: [4096] },
    { name: 'never', dtype: 'U8', shape: [512 * 1024] },
  ] as const
  const file = writeFile(encodeHeader(list), Buffer.alloc(4096, 1), Buffer.alloc(512 * 1024, 2))
  const before = cache.stats().bytesLoaded
  const model = await Safetensors.open(cache, file)
  await model.array('wanted')
  await model.close()
  expect(cache.stats().bytesLoaded - before).toBeLessThanOrEqual(64 * 1024)
})

test('one that is aborted rejects with the reason', async () => {
  const model = await Safetensors.open(
    cache,
    writeFile(encodeHeader([{ name: 'a', dtype: 'U8', shape: [9] }]), Buffer.alloc(9)),
  )
  await expect(model.array('a', { signal: AbortSignal.abort('enough') })).rejects.toBe('enough')
  await model.close()
})
