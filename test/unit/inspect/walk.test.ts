import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { globFilter } from '../../../src/inspect/globs.ts'
import { type Entry, type Visitor, Walker } from '../../../src/inspect/walk.ts'

let root: string

beforeEach(() => {
  root = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'samepage-walk-'))
})
afterEach(() => fs.rmSync(root, { recursive: true, force: true }))

/** Writes down everything. */
class Recorder implements Visitor {
  readonly files: string[] = []
  readonly entered: string[] = []
  readonly left: string[] = []
  readonly changed: string[] = []
  readonly unreadablePaths: string[] = []
  others = 0
  gone = 0
  wants: (entry: Entry, isDirectory: boolean) => boolean = () => true
  onFile: (entry: Entry) => void = () => {}

  enter(parent: number, _name: string, _fd: number, _stat: unknown, directory: string): number {
    expect(parent === -1 ? '' : path.dirname(directory)).toBe(parent === -1 ? '' : this.entered[parent])
    return this.entered.push(directory) - 1
  }
  leave(directory: number, changed: boolean): void {
    this.left.push(this.entered[directory]!)
    if (changed) this.changed.push(this.entered[directory]!)
  }
  file(entry: Entry): void {
    this.files.push(entry.relativePath())
    expect(path.basename(entry.relativePath())).toBe(entry.name())
    this.onFile(entry)
  }
  other(): void {
    this.others++
  }
  vanished(): void {
    this.gone++
  }
  unreadable(name: string): void {
    this.unreadablePaths.push(name)
  }
}

function write(...names: string[]): void {
  for (const name of names) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), '')
  }
}

function walk(recorder: Recorder): number {
  return new Walker(recorder).walk(root, -1, root)
}

test('meets every file once, and no link, fifo or socket', () => {
  write('a', 'd/b', 'd/e/c', 'f/g/h/i')
  fs.mkdirSync(path.join(root, 'empty'))
  fs.symlinkSync('d', path.join(root, 'link-to-directory'))
  fs.symlinkSync('a', path.join(root, 'd/link'))
  fs.symlinkSync('..', path.join(root, 'd/loop'))
  const recorder = new Recorder()
  expect(walk(recorder)).toBe(0)
  expect(recorder.files.sort()).toEqual(['a', 'd/b', 'd/e/c', 'f/g/h/i'])
  expect(recorder.entered.map((name) => path.relative(root, name)).sort()).toEqual(
    ['', 'd', 'd/e', 'empty', 'f', 'f/g', 'f/g/h'].sort(),
  )
  expect(recorder.left.toSorted()).toEqual(recorder.entered.toSorted())
  expect(recorder.left.at(-1)).toBe(root)
  expect(recorder).toMatchObject({ others: 3, gone: 0, changed: [], unreadablePaths: [] })
})

test('a directory of thousands of entries takes several answers of the kernel', () => {
  const names = Array.from({ length: 12_000 }, (_, i) => `file-with-a-long-name-${i}`)
  write(...names)
  const recorder = new Recorder()
  walk(recorder)
  expect(recorder.files.sort()).toEqual(names.sort())
})

test('deeper than there are descriptors to keep open, with directories left over on the way up', () => {
  // Each level has a second directory, which is visited before or after the deep one.
  let at = root
  for (let level = 0; level < 700; level++) {
    fs.mkdirSync(path.join(at, 'x'))
    fs.writeFileSync(path.join(at, 'x', 'f'), '')
    at = path.join(at, 'd')
    fs.mkdirSync(at)
  }
  fs.writeFileSync(path.join(at, 'bottom'), '')
  const open = () => fs.readdirSync('/proc/self/fd').length
  const before = open()
  let most = 0
  const recorder = new Recorder()
  recorder.onFile = () => {
    if (recorder.files.length % 50 === 0) most = Math.max(most, open())
  }
  expect(walk(recorder)).toBe(0)
  expect(recorder.files).toHaveLength(701)
  expect(recorder).toMatchObject({ gone: 0, unreadablePaths: [], changed: [] })
  expect(most - before).toBeLessThan(270)
  expect(open()).toBe(before)
})

test('what vanishes or appears during the walk is counted, not an error', () => {
  write('a', 'd/b', 'e/c')
  const recorder = new Recorder()
  recorder.onFile = (entry) => {
    if (entry.name() !== 'a') return
    fs.rmSync(path.join(root, 'd'), { recursive: true })
    write('new')
  }
  expect(walk(recorder)).toBe(0)
  expect(recorder.files.sort()).toEqual(['a', 'e/c'])
  expect(recorder.gone).toBe(1)
  expect(recorder.changed).toEqual([root])
})

test('a directory that goes while it is open has vanished, and is not unreadable', () => {
  fs.mkdirSync(path.join(root, 'd'))
  const recorder = new Recorder()
  const { enter } = recorder
  recorder.enter = (...args) => {
    if (args[4] !== root) fs.rmdirSync(args[4])
    return enter.apply(recorder, args)
  }
  expect(walk(recorder)).toBe(0)
  expect(recorder).toMatchObject({ gone: 1, unreadablePaths: [] })
})

test('a root that is not there, or no directory, is told', () => {
  write('file')
  expect(new Walker(new Recorder()).walk(path.join(root, 'none'), -1, 'none')).toBe(-os.constants.errno.ENOENT)
  expect(new Walker(new Recorder()).walk(path.join(root, 'file'), -1, 'file')).toBe(-os.constants.errno.ENOTDIR)
})

test('names that are not UTF-8 are walked like others', () => {
  const strange = Buffer.concat([Buffer.from(`${root}/d`), Buffer.of(0xff, 0xfe)])
  fs.mkdirSync(strange)
  fs.writeFileSync(Buffer.concat([strange, Buffer.from('/inside')]), '')
  const recorder = new Recorder()
  walk(recorder)
  expect(recorder.files).toEqual(['d\udcff\udcfe/inside'])
})

test.each([
  [[], [], ['a.img', 'a.log', '.h', 'd/b.img', 'd/e/c.img', 'skip/z.img']],
  [['*.img'], [], ['a.img', 'd/b.img', 'd/e/c.img', 'skip/z.img']],
  [[], ['skip', '*.log'], ['a.img', '.h', 'd/b.img', 'd/e/c.img']],
  [['d/**'], [], ['d/b.img', 'd/e/c.img']],
  [['d/*.img'], [], ['d/b.img']],
  [['**/*.img'], ['d/e'], ['a.img', 'd/b.img', 'skip/z.img']],
  [['.*'], [], ['.h']],
  [['/*.img'], ['skip/'], ['a.img']],
  [['{a,b}.img'], [], ['a.img', 'd/b.img']],
])('include %j, exclude %j', (include, exclude, expected) => {
  write('a.img', 'a.log', '.h', 'd/b.img', 'd/e/c.img', 'skip/z.img')
  const recorder = new Recorder()
  recorder.wants = globFilter({ include, exclude })
  walk(recorder)
  expect(recorder.files.sort()).toEqual(expected.toSorted())
  if (exclude.includes('skip')) expect(recorder.entered).not.toContain(path.join(root, 'skip'))
})
