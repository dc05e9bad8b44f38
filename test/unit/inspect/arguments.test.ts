import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findArguments } from '../../../src/inspect/arguments.ts'

let root: string

beforeEach(() => {
  root = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'samepage-arguments-'))
  fs.mkdirSync(path.join(root, 'a/b/c'), { recursive: true })
  fs.mkdirSync(path.join(root, 'ab'))
  fs.symlinkSync('../ab', path.join(root, 'a/link'))
})
afterEach(() => fs.rmSync(root, { recursive: true, force: true }))

function find(...names: string[]): { found: string[]; failed: string[] } {
  const failed: string[] = []
  const found = findArguments(
    names.map((name) => `${root}/${name}`),
    (name) => failed.push(path.relative(root, name)),
  )
  return {
    found: found.map(({ path: name, isInner }) => `${name.slice(root.length)}${isInner ? ' (inner)' : ''}`),
    failed,
  }
}

test('each once, in the order given, but those within others after all others', () => {
  expect(find('a/b/c', 'a/b', 'ab', 'a//', './ab/.', 'none')).toEqual({
    found: ['/ab', '/a', '/a/b (inner)', '/a/b/c (inner)'],
    failed: ['none'],
  })
})

test('what links lead to counts, with a `..` behind them, too', () => {
  expect(find('a', 'a/link').found).toEqual(['/a', '/a/link'])
  expect(find('a/link', 'ab').found).toEqual(['/a/link'])
  expect(find('a/link/../a/b', 'a').found).toEqual(['/a', '/a/link/../a/b (inner)'])
})

test('an empty one is nothing, and / is above all', () => {
  const failed: string[] = []
  expect(findArguments([''], (name) => failed.push(name))).toEqual([])
  expect(failed).toEqual([''])
  expect(findArguments([root, '/', '//'], () => {}).map(({ path: name }) => name)).toEqual(['/', root])
})
