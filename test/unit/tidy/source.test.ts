import { describe, expect, test } from 'vitest'
import { readTree, withoutComments } from '../../support/sources.ts'

const LINES_MAX = 500

/** Syntax that has a meaning at run time which JavaScript does not know. */
const UNERASABLE =
  /^[ \t]*(?:export\s+)?(?:declare\s+)?(?:(?:const\s+)?enum\s+\w+\s*\{|(?:namespace|module)\s+[\w.]+\s*\{)/m

const hasUnerasable = (source: string) => UNERASABLE.test(withoutComments(source))
/** It does it for all others; and this file, whose examples are strings. */
const MAY_SKIP = ['test/support/requires.ts', 'test/unit/tidy/source.test.ts']

/** Vitest's own ways to leave a test out. `describeWith` and `testWith` of test/support/requires.ts say why, and CI asks them. */
const hasBareSkip = (source: string) =>
  /\b(?:describe|test|it|context|ctx|suite)(?:\.\w+)*\.(?:skip|skipIf|runIf|only|todo)\b/.test(withoutComments(source))

const lineCount = (source: string) => source.trimEnd().split('\n').length

test(`no file of src/ is longer than ${LINES_MAX} lines`, () => {
  const long = [...readTree('src', '.ts')]
    .map(([file, source]) => `${file}: ${lineCount(source)} lines`)
    .filter((line) => Number(/: (\d+) lines$/.exec(line)?.[1]) > LINES_MAX)
  expect(long).toEqual([])
})

test('no enum and no namespace', () => {
  const files = [...readTree('src', '.ts'), ...readTree('test', '.ts'), ...readTree('bench', '.ts')]
  expect(files.filter(([, source]) => hasUnerasable(source)).map(([file]) => file)).toEqual([])
})

test('no test is skipped but by a need, so that in CI none is by mistake', () => {
  const files = [...readTree('test', '.ts')].filter(([file]) => !MAY_SKIP.includes(file))
  expect(files.filter(([, source]) => hasBareSkip(source)).map(([file]) => file)).toEqual([])
})

describe('the check itself', () => {
  test.each(['enum Kind { A }', 'export const enum Kind { A }', 'declare enum A {}', 'export namespace A.B { }'])(
    'refuses %s',
    (source) => expect(hasUnerasable(source)).toBe(true),
  )
  test.each(['// enum Kind { A }', '/**\n enum Kind {\n */', "const enumerate = 'enum'", 'module.exports = {}'])(
    'accepts %s',
    (source) => expect(hasUnerasable(source)).toBe(false),
  )
  test.each(["test.skip('a', f)", 'describe.concurrent.skipIf(x)', 'it.runIf(x)', 'test.only'])(
    'refuses %s',
    (source) => expect(hasBareSkip(source)).toBe(true),
  )
  test.each(['skipped.skip()', 'test.each([])', '// test.skip', 'list.skip(1)'])('accepts %s', (source) =>
    expect(hasBareSkip(source)).toBe(false),
  )
})
