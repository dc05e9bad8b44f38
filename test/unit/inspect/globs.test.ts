import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseGlob } from '../../../src/inspect/globs.ts'

const matches = (glob: string, name: string): boolean => parseGlob(glob).some((holds) => holds(name.split('/')))

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
  ['a/**/**', ['a', 'a/b', 'a/c/b'], ['ab', 'x/a']],
  ['**/**/b/**', ['b', 'a/b', 'a/b/c/d'], ['a', 'ab/c']],
  ['a\\/b', ['a/b'], []],
  ['\\/a\\/', ['a'], ['d/a']],
  ['a\\\\/b', ['a\\/b'], ['a/b']],
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

/** Whether the parts of a glob of this test match, by trying everything. */
function tried(parts: readonly string[], path: string): boolean {
  const [part, ...others] = parts
  if (part === undefined) return path === ''
  if (part === '**/')
    return tried(others, path) || (path.includes('/') && tried(parts, path.slice(path.indexOf('/') + 1)))
  if (part === '*') return tried(others, path) || (/^[^/]/.test(path) && tried(parts, path.slice(1)))
  return (part === '?' ? /^[^/]/.test(path) : path.startsWith(part)) && tried(others, path.slice(1))
}

test('random globs with many stars match paths as if everything were tried', () => {
  const names = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 5 }), {
    minLength: 1,
    maxLength: 5,
  })
  const component = fc
    .array(fc.constantFrom('a', 'b', '?', '*'), { minLength: 1, maxLength: 5 })
    .filter((parts) => parts.join('') !== '**')
  // What is between two components, or before the first one.
  const gap = fc.array(fc.constant('**/'), { maxLength: 2 })
  const glob = fc
    .array(fc.tuple(gap, component), { minLength: 1, maxLength: 4 })
    .map((all) => ['/', ...all.flatMap(([above, name], at) => [...(at > 0 ? ['/'] : []), ...above, ...name])])
  let matched = 0
  fc.assert(
    fc.property(names, glob, (components, parts) => {
      const path = components.join('/')
      const expected = tried(parts, `/${path}`)
      if (expected) matched++
      expect(matches(parts.join(''), path)).toBe(expected)
    }),
    { numRuns: 3000 },
  )
  // Else the test would say nothing.
  expect(matched).toBeGreaterThan(100)
})

test.each([
  ['directories', `${'**/'.repeat(9)}x`, 'a/'.repeat(30)],
  ['stars in a name', '*a*a*a*ab', 'a'.repeat(400)],
])('many %s take no time that grows with each', (_, glob, name) => {
  const startedAt = performance.now()
  expect(matches(glob, `${name}y`)).toBe(false)
  expect(performance.now() - startedAt).toBeLessThan(1000)
})

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
