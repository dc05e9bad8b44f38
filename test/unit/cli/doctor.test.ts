import fc from 'fast-check'
import { expect, test } from 'vitest'
import { about, STATE } from '../../../src/cli/doctor/finding.ts'
import { wrap } from '../../../src/cli/doctor.ts'

test('lines are broken between words only, and none is longer than it must be', () => {
  const word = fc.string({ minLength: 1, maxLength: 12 }).filter((text) => !/\s/.test(text))
  fc.assert(
    fc.property(fc.array(word, { minLength: 1 }), fc.integer({ min: 1, max: 40 }), (words, width) => {
      const lines = wrap(words.join(' '), width)
      expect(lines.join(' ')).toBe(words.join(' '))
      for (const line of lines) expect(line.length <= width || !line.includes(' ')).toBe(true)
      // The first word of a line did not fit on the line before.
      for (let i = 1; i < lines.length; i++)
        expect(lines[i - 1]!.length + 1 + lines[i]!.split(' ')[0]!.length).toBeGreaterThan(width)
    }),
  )
})

test('a finding has a remedy only where one is named', () => {
  const here = about('thing', 'the thing')
  expect(here.ok('works')).toEqual({ id: 'thing', what: 'the thing', state: STATE.OK, means: 'works' })
  expect(here.missing('is not there', 'get it')).toEqual({
    id: 'thing',
    what: 'the thing',
    state: STATE.MISSING,
    means: 'is not there',
    remedy: 'get it',
  })
})
