import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeName, encodeName, printableName } from '../../../src/inspect/names.ts'

test('every sequence of bytes survives', () => {
  const byte = fc.integer({ min: 1, max: 255 })
  const valid = fc.string({ unit: 'binary' }).map((text) => [...Buffer.from(text.replaceAll('\0', ''))])
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.array(byte, { maxLength: 4 }), valid), { maxLength: 5 }), (parts) => {
      const bytes = Buffer.from(parts.flat())
      expect(encodeName(decodeName(bytes))).toEqual(Buffer.concat([bytes, Buffer.of(0)]))
    }),
    { numRuns: 300 },
  )
})

test('valid UTF-8 is itself, byte order marks included', () => {
  for (const name of ['plain', 'häßlich', '日本語', '🐧', '\ufeffmark'])
    expect(decodeName(Buffer.from(name))).toBe(name)
})

test('what would drive a terminal is escaped', () => {
  expect(printableName('a\x1b[31mb\n\x9b')).toBe('a\\x1b[31mb\\x0a\\x9b')
  expect(printableName(decodeName(Buffer.from([0x61, 0xff, 0x62])))).toBe('a\\xffb')
  expect(printableName('gnp\u202etxt')).toBe('gnp\\u202etxt')
  expect(printableName('日本 🐧')).toBe('日本 🐧')
})
