import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { UsageError } from '../../../src/cli/output.ts'
import { checkPage, writePage } from '../../../src/cli/page-file.ts'

const PAGE = '<!doctype html>\n<p>before'
const NEW = '<!doctype html>\n<p>after'

let directory: string
const at = (name: string) => path.join(directory, name)
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-page-'))
})
afterEach(() => fs.rmSync(directory, { recursive: true }))

/** As the command does it; nothing but the page may have changed. */
function write(file: string, paths: readonly string[] = []): void {
  const before = fs.readdirSync(directory)
  checkPage(file, paths)
  expect(fs.readdirSync(directory)).toEqual(before)
  writePage(file, NEW, paths)
}

test('a page is written where nothing is, over an empty file, and over an earlier page', () => {
  fs.writeFileSync(at('empty'), '')
  fs.writeFileSync(at('earlier'), PAGE)
  for (const name of ['missing', 'empty', 'earlier']) {
    write(at(name))
    expect(fs.readFileSync(at(name), 'utf8')).toBe(NEW)
  }
  expect(fs.readdirSync(directory).sort()).toEqual(['earlier', 'empty', 'missing'])
})

test.each([['image'], ['<!doctype htm'], [' <!doctype html>'], ['\0'.repeat(4096)]])(
  'a file that begins with %j stays as it is',
  (content) => {
    fs.writeFileSync(at('data'), content)
    fs.symlinkSync('data', at('link'))
    for (const name of ['data', 'link'])
      for (const action of [() => checkPage(at(name), []), () => writePage(at(name), NEW, [])])
        expect(action).toThrow(UsageError)
    expect(fs.readFileSync(at('data'), 'utf8')).toBe(content)
  },
)

test('what is to be inspected is not overwritten, by whatever name it goes', () => {
  fs.writeFileSync(at('page'), PAGE)
  fs.linkSync(at('page'), at('other'))
  fs.symlinkSync('page', at('link'))
  for (const name of ['page', 'other', 'link'])
    expect(() => checkPage(at(name), [at('nothing'), at('page')])).toThrow('is to be inspected')
  expect(fs.readFileSync(at('page'), 'utf8')).toBe(PAGE)
})

test('links are followed, also to what is not there yet; permissions and owner stay', () => {
  fs.mkdirSync(at('d'))
  fs.symlinkSync('d/page', at('link'))
  fs.symlinkSync(at('link'), at('d/link'))
  write(at('d/link'))
  expect(fs.readFileSync(at('d/page'), 'utf8')).toBe(NEW)
  fs.writeFileSync(at('d/page'), PAGE)
  fs.chmodSync(at('d/page'), 0o640)
  if (process.geteuid?.() === 0) fs.chownSync(at('d/page'), 1234, 1235)
  const { uid, gid, ino } = fs.statSync(at('d/page'))
  write(at('link'))
  expect(fs.readFileSync(at('d/page'), 'utf8')).toBe(NEW)
  expect(fs.lstatSync(at('link')).isSymbolicLink()).toBe(true)
  expect(fs.statSync(at('d/page'))).toMatchObject({ uid, gid, mode: 0o100640 })
  // Another file: whoever has the earlier one open reads on in that.
  expect(fs.statSync(at('d/page')).ino).not.toBe(ino)
})

test.each<[what: string, file: () => string, why: string]>([
  ['a directory', () => directory, 'on a directory'],
  ['below what is not there', () => at('nothing/page'), 'no such file'],
  ['below a file', () => at('file/page'), 'not a directory'],
  ['a link to itself', () => at('loop'), 'symbolic link'],
])('%s is refused before the walk', (_, file, why) => {
  fs.writeFileSync(at('file'), '')
  fs.symlinkSync('loop', at('loop'))
  expect(() => checkPage(file(), [])).toThrow(why)
})

test('a pipe is opened once, for the page itself', async () => {
  execFileSync('mkfifo', [at('fifo')])
  const reader = spawn('cat', [at('fifo')])
  const chunks: Buffer[] = []
  reader.stdout.on('data', (chunk: Buffer) => void chunks.push(chunk))
  const ended = new Promise((resolve) => reader.once('close', resolve))
  checkPage(at('fifo'), [])
  writePage(at('fifo'), NEW, [])
  await ended
  expect(Buffer.concat(chunks).toString()).toBe(NEW)
})

test('where there is no room the page is the one before, and nothing is left beside it', () => {
  fs.writeFileSync(at('page'), PAGE)
  const write = fs.writeFileSync
  fs.writeFileSync = ((file: string, data: string, options: object) => {
    write(file, data.slice(0, 5), options)
    throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  }) as typeof fs.writeFileSync
  try {
    expect(() => writePage(at('page'), NEW, [])).toThrow('no space left')
  } finally {
    fs.writeFileSync = write
  }
  expect(fs.readFileSync(at('page'), 'utf8')).toBe(PAGE)
  expect(fs.readdirSync(directory)).toEqual(['page'])
})
