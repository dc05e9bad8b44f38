/** `samepage dedupe` as its users meet it: what it leaves alone and says so, where it refuses, forms of output, exit status. */
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { KIBIBYTE, MEBIBYTE, noise, PAGE, run, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith, testWith } from '../support/requires.ts'
import { samepage, samepageInShell } from '../support/samepage.ts'
import { ROOT } from '../support/sources.ts'

const CONTENT = noise(128 * KIBIBYTE, 1)

/** Writes a part of a file, which need not be there. */
function overwriteNew(file: string, offset: number, content: Uint8Array): void {
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT)
  fs.writeSync(fd, content, 0, content.length, offset)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}

function planOf(...args: string[]): { bytes: number; runs: number; files: number; savedBytes: number } {
  const { status, stdout, stderr } = samepage(['dedupe', '--json', ...args])
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return JSON.parse(stdout).plan
}

describeWith(['root', 'loop', 'xfs', 'ext4', 'fuse'], 'samepage dedupe', () => {
  let filesystem: LoopFilesystem
  let tree = ''
  let trees = 0
  const at = (name: string) => path.join(tree, name)
  const newTree = (...names: string[]) => {
    tree = path.join(filesystem.path, `tree${trees++}`)
    fs.mkdirSync(tree)
    for (const name of names) {
      fs.mkdirSync(path.dirname(at(name)), { recursive: true })
      writeSynced(at(name), CONTENT)
    }
  }

  beforeAll(async () => {
    filesystem = await loopFilesystem('xfs')
  })
  afterAll(async () => {
    await filesystem?.[Symbol.asyncDispose]()
  })

  test('what is excluded stays as it is, also where its name would mean something in an extended glob', () => {
    newTree('a', 'copy (1).img', 'x|y', 'new\nline/b')
    const excludes = ['copy (1).img', 'x|y', '**/b'].flatMap((glob) => ['--exclude', glob])
    expect(planOf(...excludes, tree)).toMatchObject({ bytes: 0 })
    expect(planOf('--exclude', 'x|y', '--exclude', '**/b', tree)).toMatchObject({ files: 1 })
  })

  test('says what would be saved; with --apply saves it; then there is nothing left', () => {
    newTree('a', 'b', 'sub/c')
    const dry = samepage(['dedupe', tree])
    expect(dry).toMatchObject({ status: 0, stderr: '' })
    expect(dry.stdout).toMatch(/^Equal, stored more than once +256 KiB {3}in 2 ranges of 2 files$/m)
    expect(dry.stdout).toMatch(/^Would be saved +256 KiB$/m)
    expect(dry.stdout).toContain('Nothing was changed. The same command with --apply shares it.')
    const applied = samepage(['dedupe', '--apply', tree])
    expect(applied).toMatchObject({ status: 0, stderr: '' })
    expect(applied.stdout).toMatch(/^Shared now +256 KiB {3}in 2 ranges$/m)
    expect(applied.stdout).toMatch(/^Saved +256 KiB$/m)
    expect(samepage(['dedupe', tree]).stdout).toContain('Nothing equal is stored more than once.')
  })

  test('--include, --exclude, --min-run and hard links: each file once, and only what is wanted', () => {
    newTree('a.img', 'b.img', 'c.txt', 'old/d.img')
    fs.linkSync(at('a.img'), at('again.img'))
    expect(planOf(tree).savedBytes).toBe(3 * CONTENT.length)
    expect(planOf('--include', '*.img', tree).savedBytes).toBe(2 * CONTENT.length)
    expect(planOf('--exclude', 'old', tree).savedBytes).toBe(2 * CONTENT.length)
    expect(planOf('--min-run', '132KiB', tree).savedBytes).toBe(0)
    expect(planOf(at('a.img'), at('again.img')).savedBytes).toBe(0)
    expect(planOf(at('a.img'), at('b.img')).savedBytes).toBe(CONTENT.length)
  })

  test('--domain: owners, or entries of the directory, do not come to share', () => {
    newTree('x/a', 'x/b', 'y/c', 'y/d')
    for (const name of ['x/b', 'y/d']) fs.chownSync(at(name), 1001, 1001)
    expect(planOf(tree).savedBytes).toBe(3 * CONTENT.length)
    for (const domain of ['uid', 'dir']) {
      expect(planOf('--domain', domain, tree)).toMatchObject({ savedBytes: 2 * CONTENT.length, runs: 2 })
      expect(planOf('--domain', domain, at('x/a'), at('y/d'))).toMatchObject({ runs: 0 })
    }
    expect(planOf('--domain', 'uid', at('x/a'), at('y/c')).savedBytes).toBe(CONTENT.length)
    expect(planOf('--domain', 'dir', at('x')).savedBytes).toBe(0)
  })

  testWith(['program:chattr'], 'what it leaves alone is counted by reason', () => {
    newTree('a', 'busy', 'immutable')
    writeSynced(at('small'), noise(8 * PAGE, 1))
    const fd = fs.openSync(at('busy'), 'r+')
    run('chattr', '+i', at('immutable'))
    try {
      const { stdout, status } = samepage(['dedupe', tree])
      expect(status).toBe(0)
      expect(stdout).toContain('Files left alone: 1 smaller than --min-run, 1 open for writing, 1 immutable.')
      expect(stdout).toContain('Nothing equal is stored more than once.')
    } finally {
      fs.closeSync(fd)
      run('chattr', '-i', at('immutable'))
    }
  })

  test('refuses, with what to do, where nothing can be shared', async () => {
    newTree('a', 'b')
    await using ext4 = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    const there = samepage(['dedupe', ext4.path])
    expect(there).toEqual({
      status: 1,
      stdout: '',
      stderr: `samepage: ${ext4.path}: ext4 has no clones (reflinks): no two of its files share storage.\n`,
    })
    {
      await using mount = await mounted(filesystem.path)
      const inside = path.join(mount.path, path.basename(tree))
      const refused = samepage(['dedupe', '--apply', inside])
      expect(refused.status).toBe(1)
      expect(refused.stderr).toContain(`Use its source: ${tree}\n`)
    }
    run('mount', '-o', 'remount,ro', filesystem.path)
    try {
      const refused = samepage(['dedupe', tree])
      expect(refused.status).toBe(1)
      expect(refused.stderr).toContain('It is mounted read-only')
    } finally {
      run('mount', '-o', 'remount,rw', filesystem.path)
    }
    // What can be shared is, beside what cannot be read.
    const mixed = samepage(['dedupe', at('nothing'), tree])
    expect(mixed.status).toBe(1)
    expect(mixed.stderr).toBe(`samepage: ${at('nothing')}: no such file or directory\n`)
    expect(mixed.stdout).toMatch(/^Would be saved +128 KiB$/m)
  })

  test('a PATH that is no file, or nobody may read, is refused for what it is', () => {
    newTree('a', 'unreadable')
    run('mkfifo', at('fifo'))
    fs.chmodSync(at('unreadable'), 0o600)
    expect(samepage(['dedupe', at('fifo')])).toEqual({
      ...{ status: 1, stdout: '', stderr: `samepage: ${at('fifo')}: It is neither a regular file nor a directory.\n` },
    })
    const wrapper = ['setpriv', '--reuid=1001', '--regid=1001', '--clear-groups']
    fs.chmodSync(filesystem.path, 0o755)
    expect(samepage(['dedupe', at('unreadable')], { wrapper })).toEqual({
      ...{ status: 1, stdout: '', stderr: `samepage: ${at('unreadable')}: permission denied\n` },
    })
  })

  test('acts on the tree that the kernel means, never on another one', () => {
    newTree('here/a', 'here/b', 'there/a', 'there/b', 'there/inner/c')
    fs.symlinkSync('../there/inner', at('here/link'))
    expect(planOf(`${tree}/here/link/..`)).toMatchObject({ files: 2 })
    // Below another PATH, but excluded there.
    expect(planOf('--exclude', 'here', tree, at('here'))).toMatchObject({ files: 4 })
  })

  test('content beyond 16 TiB of a file is shared, and what lies there modulo 16 TiB is not taken for it', () => {
    newTree()
    const far = 2 ** 44 + PAGE
    for (const name of ['a', 'b']) {
      overwriteNew(at(name), PAGE, noise(CONTENT.length, name === 'a' ? 2 : 3))
      overwriteNew(at(name), far, CONTENT)
    }
    const report = JSON.parse(samepage(['dedupe', '--json', '--apply', tree]).stdout)
    expect(report).toMatchObject({ plan: { runs: 1, bytes: CONTENT.length }, applied: { differentBytes: 0 } })
    expect(report.applied.sharedBytes).toBe(CONTENT.length)
    expect(planOf(tree).runs).toBe(0)
  })

  test('a user shares his own files, and nobody else’s', () => {
    newTree('mine1', 'mine2', 'theirs')
    fs.chmodSync(filesystem.path, 0o755)
    for (const name of ['mine1', 'mine2']) fs.chownSync(at(name), 1001, 1001)
    const wrapper = ['setpriv', '--reuid=1001', '--regid=1001', '--clear-groups']
    const mine = samepage(['dedupe', '--apply', at('mine1'), at('mine2')], { wrapper })
    expect(mine).toMatchObject({ status: 0, stderr: '' })
    expect(mine.stdout).toMatch(/^Saved +128 KiB$/m)
    const theirs = samepage(['dedupe', '--apply', tree], { wrapper })
    expect(theirs.status).toBe(1)
    expect(theirs.stderr).toContain(`${at('theirs')}: operation not permitted (EPERM): 128 KiB`)
  })

  test('more memory than allowed is asked for before anything is read', () => {
    newTree('a', 'b')
    const { status, stdout, stderr } = samepage(['dedupe', '--memory', '512', tree])
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toBe('samepage: comparing 256 KiB needs 768 B of memory: give --memory 1MiB, or fewer paths\n')
  })

  test('--json has what was refused; output that nobody takes is no defect of ours', async () => {
    newTree('a', 'b')
    run('mkfifo', at('fifo'))
    const { status, stdout } = samepage(['dedupe', '--json', at('nothing'), at('fifo'), tree])
    expect(status).toBe(1)
    expect(JSON.parse(stdout).failed).toEqual([
      { path: at('nothing'), error: 'ENOENT', why: 'no such file or directory' },
      { path: at('fifo'), error: null, why: 'It is neither a regular file nor a directory.' },
    ])
    for (const command of ['dedupe', 'inspect']) {
      const shell = (how: string) => samepageInShell([command, '--json', tree], how)
      expect(shell('(sleep 0.5; "$@") | true')).toEqual({ status: 0, stdout: '', stderr: '' })
      expect(shell('"$@" > /dev/full')).toEqual({
        ...{ status: 1, stdout: '', stderr: 'samepage: standard output: no space left on device\n' },
      })
    }
  })

  test('--json is documented field by field; wrong use ends with 2', () => {
    newTree('a', 'b')
    const documented = fs.readFileSync(path.join(ROOT, 'docs/dedupe.md'), 'utf8')
    const fields = new Set<string>()
    const collect = (value: unknown): void => {
      if (Array.isArray(value)) value.forEach(collect)
      else if (typeof value === 'object' && value !== null)
        for (const [name, inner] of Object.entries(value)) {
          fields.add(name)
          collect(inner)
        }
    }
    const { stdout } = samepage(['dedupe', '--json', '--apply', tree])
    collect(JSON.parse(stdout))
    expect(fields.size).toBeGreaterThan(30)
    expect([...fields].filter((field) => !documented.includes(`\`${field}\``))).toEqual([])
    for (const wrong of [[], ['--min-run', '1000', tree], ['--domain', 'all', tree], ['--memory', 'x', tree]])
      expect(samepage(['dedupe', ...wrong]).status, wrong.join(' ')).toBe(2)
  })
})

describeWith(['root', 'loop', 'btrfs', 'program:chattr'], 'samepage dedupe on btrfs', () => {
  test('nodatacow and compressed files are left alone, and counted', async () => {
    await using filesystem = await loopFilesystem('btrfs', { mount: ['compress-force=zstd'] })
    const at = (name: string) => path.join(filesystem.path, name)
    for (const name of ['nodatacow1', 'nodatacow2']) {
      fs.writeFileSync(at(name), '')
      run('chattr', '+C', at(name))
      fs.writeFileSync(at(name), CONTENT)
    }
    for (const name of ['compressed1', 'compressed2'])
      writeSynced(at(name), Buffer.alloc(256 * KIBIBYTE, 'compressible '))
    run('sync', '-f', filesystem.path)
    const { status, stdout } = samepage(['dedupe', '--json', filesystem.path])
    expect(status).toBe(0)
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ incomparableBytes: 512 * KIBIBYTE, plan: { runs: 0 } })
    expect(report.files).toMatchObject({ nodatacow: 2, compared: 2 })
  })
})
