import fc from 'fast-check'
import stringWidth from 'string-width'
import { expect, test } from 'vitest'
import { cutToWidth } from '../../../src/cli/progress.ts'

test.each([
  ['abc', 5, 'abc'],
  ['abc', 2, 'ab'],
  ['日本語', 5, '日本'],
  ['a日本', 4, 'a日'],
  ['한국어', 4, '한국'],
  ['e\u0301e\u0301', 1, 'e\u0301'],
  ['😀😀', 3, '😀'],
  ['👨‍👩‍👧x', 2, '👨‍👩‍👧'],
  ['abc', 0, ''],
])('of %j %d columns show %j', (text, columns, shown) => expect(cutToWidth(text, columns)).toBe(shown))

test('what is shown is a beginning of the text, fits, and is all where all fits', () => {
  const text = fc.string({ unit: fc.constantFrom('a', ' ', '日', '한', 'é', 'e\u0301', '😀', 'ｗ', '█') })
  fc.assert(
    fc.property(text, fc.nat(30), (all, columns) => {
      const shown = cutToWidth(all, columns)
      expect(all.startsWith(shown)).toBe(true)
      expect(stringWidth(shown)).toBeLessThanOrEqual(columns)
      if (stringWidth(all) <= columns) expect(shown).toBe(all)
      else expect(stringWidth(shown)).toBeGreaterThanOrEqual(columns - 1)
    }),
  )
})
