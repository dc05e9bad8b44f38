/** Files of the program that are replaced, as package managers and builds do it, are noticed; what leaves them as they are is not. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { InstalledCode } from '../../../src/daemon/installed-code.ts'

const AS_PACKED = new Date('1985-10-26')
let root: string
let file: string

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'installed-code-'))
  file = path.join(root, 'daemon/worker.ts')
  fs.mkdirSync(path.dirname(file))
  fs.writeFileSync(file, 'one')
  fs.utimesSync(file, AS_PACKED, AS_PACKED)
})
afterEach(() => fs.rmSync(root, { recursive: true, force: true }))

const replaced: Record<string, () => void> = {
  'a file in place of another, of the same length and times': () => {
    fs.writeFileSync(`${file}.new`, 'two')
    fs.utimesSync(`${file}.new`, AS_PACKED, AS_PACKED)
    fs.renameSync(`${file}.new`, file)
  },
  'a file that is written over': () => fs.writeFileSync(file, 'two'),
  'a file that is gone': () => fs.rmSync(file),
  'one more': () => fs.writeFileSync(path.join(root, 'more.ts'), ''),
  'all that is gone': () => fs.rmSync(root, { recursive: true }),
}
for (const [what, replace] of Object.entries(replaced))
  test(`is replaced: ${what}`, () => {
    const code = new InstalledCode(root)
    expect(code.isReplaced).toBe(false)
    replace()
    expect(code.isReplaced).toBe(true)
  })

test('is not: what is linked, made unwritable, read, moved as a whole and back, or no program', () => {
  const code = new InstalledCode(root)
  fs.linkSync(file, path.join(root, 'link'))
  fs.chmodSync(file, 0o400)
  fs.readFileSync(file)
  fs.renameSync(root, `${root}.old`)
  fs.renameSync(`${root}.old`, root)
  fs.writeFileSync(path.join(root, 'notes.md'), '')
  expect(code.isReplaced).toBe(false)
  expect(new InstalledCode().isReplaced).toBe(false)
})
