import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseGlob } from '../../../src/inspect/globs.ts'

const matches = (glob: string, name: string): boolean => parseGlob(glob).some((expression) => expression.test(name))

test.each([
  ['(1).img', 'copy (1).img', 'x(y)', 'a|b.img', '"q"', "it's", 'r+(2)', 'w@(1)', '!x', '#x', '^a', 'a$', 'a&b', 'a,b'],
  ['{z', 'z}', '{a}', '}{', 'q{a', 'a[b', ']', '[]', '[!]', 'x{1..3}', '~', '%', '`', 'a\\'],
  ['😀', 'é', '日本', 'a b', '-', 'a.b', 'caf\udce9'],
])('a name without wildcards is its own glob: %j …', (...names) => {
  for (const name of names) {
    expect(matches(name, name), name).toBe(true)
    expect(matches(name, `${name}x`), name).toBe(false)
    expect(matches(name, `d/${name}`), name).toBe(true)
  }
})

test.each([
  ['q{a,b}', ['qa', 'd/qb'], ['q{a,b}', 'qc']],
  ['\\{a,b}', ['{a,b}'], ['a', 'b']],
  ['{a,{b,c}d}{,x}', ['a', 'ax', 'bd', 'cdx'], ['d', 'abd']],
  ['{/a,b}', ['a', 'b', 'd/b'], ['d/a']],
  ['{z{a,b}', ['{za', '{zb'], ['za']],
  ['*', ['.h', 'a\nb', 'd/a'], []],
  ['a*b', ['ab', 'a\nb', 'd/axb'], ['a/b', 'abc']],
  ['a**b', ['ab', 'axb'], ['a/b']],
  ['?', ['a', '😀', '\udce9', '\n'], ['ab', '']],
  ['d/**', ['d', 'd/a', 'd/e/f', 'd/a\nb/c'], ['da', 'x/d/a']],
  ['**/b', ['b', 'a/b', 'a/c/b', 'a\n/b'], ['ab', 'b/a']],
  ['a/**/b', ['a/b', 'a/c/b', 'a/c\n/d/b'], ['ab', 'a/cb']],
  ['/a', ['a'], ['d/a']],
  ['./a', ['a', 'd/a'], []],
  ['d/', ['d', 'x/d'], []],
  ['a//b', ['a/b'], ['ab']],
  ['a\\/b', ['a/b'], []],
  ['[a/b]', ['[a/b]'], ['a', 'b']],
  ['[a-c]\\*', ['b*'], ['d*', 'bb']],
  ['[z-a]', [], ['z', 'a', '-']],
  ['[!a]', ['b', '!'], ['a', 'ab']],
])('%j matches %j, not %j', (glob, those, others) => {
  for (const name of those) expect(matches(glob, name), name).toBe(true)
  for (const name of others) expect(matches(glob, name), name).toBe(false)
})

test.each([
  ['/', 'names nothing'],
  ['//', 'names nothing'],
  ['./', 'names nothing'],
  ['{a,/}', 'names nothing'],
  ['a'.repeat(4097), 'at most 4096 characters'],
  ['{a,b}'.repeat(20), 'fewer braces'],
  ['[[:nothing:]]', 'no class of characters [:nothing:]'],
])('glob %# is refused, and why', (glob, why) => expect(() => parseGlob(glob)).toThrow(why))

/** What find(1), whose own matcher is the C library's, says about a whole set of names. */
let directory: string
const NAMES_MAX = 12
beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-globs-'))
})
afterAll(() => fs.rmSync(directory, { recursive: true }))

test('random globs without braces match what `find -name` finds', () => {
  // Characters that a glob, an extended glob, a shell or a regular expression gives a meaning.
  const character = fc.constantFrom(...'ab01.-^!|()+@"\'$\n#,~ ')
  const name = fc.string({ unit: character, minLength: 1, maxLength: 6 }).filter((text) => !/^\.{1,2}$/.test(text))
  const piece = fc.oneof(
    character,
    fc.constantFrom(
      '*',
      '?',
      '**',
      '\\*',
      '\\a',
      '[ab]',
      '[!a]',
      '[^a.]',
      '[a-z]',
      '[]-a]',
      '[!]]',
      '[[:alpha:]]',
      '[[:digit:]x]',
    ),
    fc.constantFrom('[', ']', '[!', '[a-]', '[\\]a]'),
  )
  const glob = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''))
  fc.assert(
    fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: NAMES_MAX }), glob, (names, pattern) => {
      for (const each of names) fs.writeFileSync(path.join(directory, each), '')
      const options = { cwd: directory, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C.UTF-8' } } as const
      const found = execFileSync('find', ['.', '-mindepth', '1', '-name', pattern, '-printf', '%f\\0'], options)
      for (const each of names) fs.rmSync(path.join(directory, each))
      const expected = names.filter((each) => found.split('\0').includes(each))
      expect(names.filter((each) => matches(pattern, each))).toEqual(expected)
    }),
    { numRuns: 300 },
  )
})
