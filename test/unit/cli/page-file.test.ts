import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { UsageError } from '../../../src/cli/output.ts'
import { checkPage, writePage } from '../../../src/cli/page-file.ts'
import { PAGE_BEGINNING } from '../../../src/inspect/html.ts'

const PAGE = `${PAGE_BEGINNING}<p>before`
const NEW = `${PAGE_BEGINNING}<p>after`

let directory: string
/** Not path.join, which would shorten `link/..`. */
const at = (name: string) => `${directory}/${name}`
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

/** A page that somebody else made. */
const OTHERS_PAGE = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Precious</title>\n'

test.each([
  ['image'],
  ['<!doctype html>'],
  [OTHERS_PAGE],
  [` ${PAGE}`],
  [PAGE_BEGINNING.slice(1)],
  ['\0'.repeat(4096)],
])('a file that begins with %j stays as it is', (content) => {
  fs.writeFileSync(at('data'), content)
  fs.symlinkSync('data', at('link'))
  for (const name of ['data', 'link'])
    for (const action of [() => checkPage(at(name), []), () => writePage(at(name), NEW, [])])
      expect(action).toThrow(UsageError)
  expect(fs.readFileSync(at('data'), 'utf8')).toBe(content)
})

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

test.each([
  ['here/link/../page'],
  // Of a link, too.
  ['here/page-link'],
])('`..` in %s is where the directory before it lies, not its name', (name) => {
  fs.mkdirSync(at('elsewhere/d'), { recursive: true })
  fs.mkdirSync(at('here'))
  fs.symlinkSync('../elsewhere/d', at('here/link'))
  fs.symlinkSync('link/../page', at('here/page-link'))
  // What the path is by its letters.
  fs.writeFileSync(at('here/page'), 'precious')
  write(at(name))
  // Over a page, too.
  write(at(name))
  expect(fs.readFileSync(at('here/page'), 'utf8')).toBe('precious')
  expect(fs.readFileSync(at('elsewhere/page'), 'utf8')).toBe(NEW)
  expect(fs.readdirSync(at('elsewhere')).sort()).toEqual(['d', 'page'])

  fs.writeFileSync(at('elsewhere/page'), 'precious')
  expect(() => checkPage(at(name), [])).toThrow(UsageError)
})

/** Runs `action`, with a function of `fs` replaced by what `wrap` makes of it. */
function withCall<Name extends 'writeFileSync' | 'fchownSync'>(
  name: Name,
  wrap: (original: (typeof fs)[Name]) => (...args: never[]) => void,
  action: () => void,
): void {
  const original = fs[name]
  fs[name] = wrap(original) as (typeof fs)[Name]
  try {
    action()
  } finally {
    fs[name] = original
  }
}

test.each([
  ['over a page', PAGE],
  ['where nothing was', undefined],
])('what somebody puts there meanwhile stays: %s', (_, before) => {
  if (before !== undefined) fs.writeFileSync(at('page'), before)
  const meanwhile = (original: typeof fs.writeFileSync) => (fd: number, html: string) => {
    original(fd, html)
    original(at('theirs'), 'precious')
    fs.renameSync(at('theirs'), at('page'))
  }
  withCall('writeFileSync', meanwhile, () => expect(() => writePage(at('page'), NEW, [])).toThrow('meanwhile'))
  expect(fs.readFileSync(at('page'), 'utf8')).toBe('precious')
  expect(fs.readdirSync(directory)).toEqual(['page'])
})

test('a file that has no name any more, by which it is open, is not taken for one that is not there', () => {
  fs.writeFileSync(at('page'), PAGE)
  const fd = fs.openSync(at('page'), 'r+')
  try {
    fs.rmSync(at('page'))
    expect(() => checkPage(`/proc/self/fd/${fd}`, [])).toThrow('meanwhile')
  } finally {
    fs.closeSync(fd)
  }
  expect(fs.readdirSync(directory)).toEqual([])
})

test('what only the owner may read nobody else may read while it is written', () => {
  fs.writeFileSync(at('page'), PAGE, { mode: 0o600 })
  const modes: number[] = []
  const noteModes = (original: typeof fs.writeFileSync) => (file: number, html: string) => {
    original(file, html)
    for (const name of fs.readdirSync(directory)) modes.push(fs.statSync(at(name)).mode & 0o777)
  }
  withCall('writeFileSync', noteModes, () => writePage(at('page'), NEW, []))
  expect(modes).toEqual([0o600, 0o600])
})

test.each(['EPERM', 'EINVAL'])(
  'an owner who cannot be kept (%s) is no reason to fail, and his group sees no more than others',
  (code) => {
    fs.writeFileSync(at('page'), PAGE)
    fs.chmodSync(at('page'), 0o664)
    const refuse = () => () => {
      throw Object.assign(new Error(), { code })
    }
    withCall('fchownSync', refuse, () => write(at('page')))
    expect(fs.readFileSync(at('page'), 'utf8')).toBe(NEW)
    expect(fs.statSync(at('page')).mode & 0o777).toBe(0o664)
    if (process.geteuid?.() !== 0) return
    fs.chownSync(at('page'), 1234, 1235)
    withCall('fchownSync', refuse, () => write(at('page')))
    expect(fs.statSync(at('page'))).toMatchObject({ uid: 0, gid: 0, mode: 0o100644 })
  },
)

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
  const fill = (original: typeof fs.writeFileSync) => (file: number, html: string) => {
    original(file, html.slice(0, 5))
    throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  }
  withCall('writeFileSync', fill, () => expect(() => writePage(at('page'), NEW, [])).toThrow('no space left'))
  expect(fs.readFileSync(at('page'), 'utf8')).toBe(PAGE)
  expect(fs.readdirSync(directory)).toEqual(['page'])
})
