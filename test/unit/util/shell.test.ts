import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { shellWord } from '../../../src/util/shell.ts'

test('a shell takes a word as it stands', () => {
  expect(shellWord('/srv/images')).toBe('/srv/images')
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', ' ', "'", '"', '$', '\\\\', '\n', '*', ';', 'ö') }), (text) => {
      expect(execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' })).toBe(text)
    }),
    { numRuns: 50 },
  )
})
