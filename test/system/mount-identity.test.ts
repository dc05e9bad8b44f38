/**
 * What a file is, through the mount: (st_dev, st_ino) is unique across btrfs subvolumes, where inode numbers repeat, the same
 * after a remount, and follows renames; other file systems below the source are shown as empty directories, or with --cross.
 */

import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { clone, noise, overwrite, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const MEBIBYTE = 2 ** 20

/** All files below `directory`: path from there → number, links and type; symlinks are not followed. */
function identities(directory: string): Map<string, { ino: bigint; dev: bigint; nlink: bigint; isDirectory: boolean }> {
  const found = new Map()
  const visit = (relative: string) => {
    const stat = fs.lstatSync(path.join(directory, relative), { bigint: true })
    found.set(relative, { ino: stat.ino, dev: stat.dev, nlink: stat.nlink, isDirectory: stat.isDirectory() })
    if (!stat.isDirectory()) return
    for (const name of fs.readdirSync(path.join(directory, relative)).sort()) visit(path.join(relative, name))
  }
  visit('')
  return found
}

/** What tar makes of the tree: names, attributes, hard links, content. */
function tarDigest(directory: string, ...excluded: string[]): string {
  const flags = ['--sort=name', '--format=posix', '--pax-option=delete=atime,delete=ctime']
  for (const name of excluded) flags.push(`--exclude=./${name}`)
  const { status, stdout, stderr } = spawnSync('tar', [...flags, '-c', '.'], { cwd: directory, maxBuffer: 1 << 30 })
  expect(stderr.toString()).toBe('')
  expect(status).toBe(0)
  return createHash('sha256').update(stdout).digest('hex')
}

/** A subvolume with hard links, clones and two subvolumes in it, and two snapshots of it. */
function makeSubvolumes(root: string): void {
  for (const name of ['top', 'top/sub', 'top/sub/nested']) run('btrfs', 'subvolume', 'create', `${root}/${name}`)
  fs.mkdirSync(`${root}/top/sub/directory`)
  run('btrfs', 'subvolume', 'create', `${root}/top/sub/directory/nested2`)
  const sub = `${root}/top/sub`
  for (let i = 0; i < 20; i++) {
    writeSynced(`${sub}/file${i}`, noise(100_000 + i * 20_000, i))
    fs.linkSync(`${sub}/file${i}`, `${sub}/directory/hard${i}`)
    fs.writeFileSync(`${sub}/nested/inner${i}`, `inner ${i}`)
    fs.writeFileSync(`${sub}/directory/nested2/inner${i}`, `inner too ${i}`)
    clone(`${sub}/file${i}`, `${sub}/nested/clone${i}`)
  }
  fs.symlinkSync('file0', `${sub}/symlink`)
  run('btrfs', 'subvolume', 'snapshot', '-r', sub, `${root}/top/snapshot1`)
  for (let i = 0; i < 20; i += 3) overwrite(`${sub}/file${i}`, 4096, noise(9000, 100 + i))
  fs.rmSync(`${sub}/file1`)
  fs.writeFileSync(`${sub}/new`, 'new')
  run('btrfs', 'subvolume', 'snapshot', sub, `${root}/top/snapshot2`)
  fs.appendFileSync(`${root}/top/snapshot2/file2`, 'appended')
  run('sync', '-f', root)
}

describeWith(['root', 'loop', 'btrfs', 'fuse', 'program:rsync'], 'subvolumes and snapshots through the mount', () => {
  test('numbers are unique and stable, hard links are kept, rsync and tar find the same as natively', async () => {
    await using btrfs = await loopFilesystem('btrfs')
    makeSubvolumes(btrfs.path)
    const source = `${btrfs.path}/top`
    let before: ReturnType<typeof identities>
    {
      await using mount = await mounted(source, { flags: { minShare: '64K' } })
      const natively = identities(source)
      before = identities(mount.path)
      expect([...before.keys()]).toEqual([...natively.keys()])

      // One device; the same number natively means the same number here, and different ones differ.
      expect(new Set([...before.values()].map(({ dev }) => dev)).size).toBe(1)
      expect(new Set([...natively.values()].map(({ dev }) => dev)).size).toBeGreaterThan(5)
      const byNative = new Map<string, bigint>()
      const numbers = new Set<bigint>()
      for (const [name, { ino, nlink }] of before) {
        const { dev, ino: native } = natively.get(name)!
        // Natively all left-out subvolumes are one: number 2.
        const key = native === 2n ? name : `${dev} ${native}`
        expect(byNative.get(key) ?? ino, name).toBe(ino)
        if (!byNative.has(key)) expect(numbers.has(ino), `${name} has the number of another file`).toBe(false)
        byNative.set(key, ino)
        numbers.add(ino)
        expect(nlink, name).toBe(natively.get(name)!.nlink)
      }
      expect(before.get('sub/file0')!.ino).toBe(before.get('sub/directory/hard0')!.ino)

      // Left-out subvolumes are empty directories, also when the kernel asks again.
      await sleep(1500)
      for (const snapshot of ['snapshot1', 'snapshot2'])
        for (const name of ['nested', 'directory/nested2']) {
          expect(fs.readdirSync(`${mount.path}/${snapshot}/${name}`)).toEqual([])
          expect(run('ls', '-la', `${mount.path}/${snapshot}/${name}`)).toContain('total 0')
        }

      const changes = run('rsync', '-aHAXncO', '--delete', '--itemize-changes', `${source}/`, `${mount.path}/`)
      expect(changes).toBe('')
      expect(tarDigest(`${mount.path}/sub`)).toBe(tarDigest(`${source}/sub`))
      // The directories of left-out subvolumes have the time at which somebody looked.
      const leftOut = ['nested', 'directory/nested2']
      for (const name of ['snapshot1', 'snapshot2'])
        expect(tarDigest(`${mount.path}/${name}`, ...leftOut), name).toBe(tarDigest(`${source}/${name}`, ...leftOut))

      // What rsync copies out of the mount is the tree, hard links and all.
      const copy = `${btrfs.path}/copy`
      run('rsync', '-aHAX', `${mount.path}/`, copy)
      expect(run('rsync', '-aHAXncO', '--delete', '--itemize-changes', `${source}/`, `${copy}/`)).toBe('')
    }
    await btrfs.unmount()
    await btrfs.mount()
    await using again = await mounted(source, { flags: { passthrough: false } })
    const numbers = (found: typeof before) => [...found].map(([name, { ino }]) => [name, ino])
    expect(numbers(identities(again.path))).toEqual(numbers(before))
  })
})

for (const kind of ['xfs', 'btrfs', 'ext4'] as const) {
  describeWith(['root', 'loop', kind, 'fuse'], `names on ${kind} that change below`, () => {
    test('an open file, an open directory and a working directory follow renames, new names lead to the same inode', async () => {
      await using filesystem = await loopFilesystem(kind, { size: 400 * MEBIBYTE })
      const at = (name: string) => `${filesystem.path}/${name}`
      fs.mkdirSync(at('a/b/c'), { recursive: true })
      const content = noise(600_000, 5)
      writeSynced(at('a/b/c/file'), content)
      if (kind !== 'ext4') clone(at('a/b/c/file'), at('twin'))
      await using mount = await mounted(filesystem.path)
      const through = (name: string) => `${mount.path}/${name}`
      const descriptor = fs.openSync(through('a/b/c/file'), 'r')
      const directory = fs.openSync(through('a/b'), 'r')
      const client = shell(through('a/b/c'))
      try {
        const { ino } = fs.fstatSync(descriptor)
        const { ino: directoryIno } = fs.fstatSync(directory)
        fs.renameSync(at('a/b/c/file'), at('a/moved'))
        fs.renameSync(at('a/b'), at('elsewhere'))
        fs.mkdirSync(at('a/b'))
        fs.writeFileSync(at('elsewhere/c/file'), 'another')

        const bytes = Buffer.alloc(content.length)
        expect(fs.readSync(descriptor, bytes, 0, bytes.length, 0)).toBe(content.length)
        expect(bytes.equals(content)).toBe(true)
        // The kernel may believe names for a second.
        await sleep(1200)
        expect(fs.statSync(through('a/moved')).ino).toBe(ino)
        expect(fs.readFileSync(through('a/moved')).equals(content)).toBe(true)
        expect(fs.statSync(through('elsewhere')).ino).toBe(directoryIno)
        expect(fs.statSync(through('a/b')).ino).not.toBe(directoryIno)
        expect(fs.readdirSync(through('a/b'))).toEqual([])
        expect(fs.readFileSync(through('elsewhere/c/file'), 'utf8')).toBe('another')
        expect(fs.readdirSync(`/proc/self/fd/${directory}`)).toEqual(['c'])
        expect(await client.ask('cat file')).toBe('another')
        expect(await client.ask('/bin/pwd')).toBe(through('elsewhere/c'))
        expect(await client.ask('ls ..')).toBe('c')
        expect(fs.fstatSync(descriptor).nlink).toBe(1)
        expect(() => fs.statSync(through('a/b/c/file'))).toThrow('ENOENT')
      } finally {
        fs.closeSync(descriptor)
        fs.closeSync(directory)
        client.end()
      }
    })
  })
}

describeWith(['root', 'loop', 'xfs', 'btrfs', 'ext4', 'fuse'], 'other file systems below the source', () => {
  test('are not shown, and are not kept busy', async () => {
    await using filesystem = await loopFilesystem('xfs')
    await using other = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    fs.mkdirSync(`${filesystem.path}/before`)
    fs.mkdirSync(`${filesystem.path}/after`)
    fs.writeFileSync(`${other.path}/foreign`, 'foreign')
    run('mount', '--bind', other.path, `${filesystem.path}/before`)
    await using mount = await mounted(filesystem.path)
    run('mount', '--bind', other.path, `${filesystem.path}/after`)
    for (const name of ['before', 'after']) {
      expect(fs.readdirSync(`${mount.path}/${name}`)).toEqual([])
      expect(() => fs.statSync(`${mount.path}/${name}/foreign`)).toThrow('ENOENT')
      expect(run('stat', '-f', '-c', '%b', `${mount.path}/${name}`)).toBe(run('stat', '-f', '-c', '%b', mount.path))
    }
    await sleep(1200)
    expect(run('ls', '-la', `${mount.path}/before`)).not.toContain('foreign')
    run('umount', `${filesystem.path}/before`)
    run('umount', `${filesystem.path}/after`)
  })

  test('that are btrfs, too, have numbers of their own with --cross', async () => {
    await using filesystem = await loopFilesystem('xfs')
    await using one = await loopFilesystem('btrfs')
    await using two = await loopFilesystem('btrfs')
    for (const [name, other] of [
      ['one', one],
      ['two', two],
    ] as const) {
      fs.writeFileSync(`${other.path}/file`, name)
      fs.linkSync(`${other.path}/file`, `${other.path}/link`)
      fs.mkdirSync(`${filesystem.path}/${name}`)
      run('mount', '--bind', other.path, `${filesystem.path}/${name}`)
    }
    try {
      await using mount = await mounted(filesystem.path, { flags: { cross: true } })
      const inoOf = (name: string) => fs.statSync(`${mount.path}/${name}`, { bigint: true }).ino
      const numbers = ['one', 'two', 'one/file', 'two/file'].map(inoOf)
      expect(new Set(numbers).size).toBe(4)
      // A backup tells hard links by number.
      expect(tarDigest(mount.path)).toBe(tarDigest(filesystem.path))
    } finally {
      for (const name of ['one', 'two']) run('umount', `${filesystem.path}/${name}`)
    }
  })

  test('are shown with --cross: numbers are unique, files are read, renamed, and let go', async () => {
    await using filesystem = await loopFilesystem('xfs')
    await using other = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    await using third = await loopFilesystem('xfs')
    const at = (name: string) => `${filesystem.path}/${name}`
    for (const [name, root] of [
      ['one', filesystem.path],
      ['one', other.path],
      ['one', third.path],
    ] as const) {
      fs.mkdirSync(`${root}/tree/deep`, { recursive: true })
      for (let i = 0; i < 50; i++) fs.writeFileSync(`${root}/tree/deep/${name}${i}`, `${root} ${i}`)
    }
    fs.mkdirSync(at('mnt/other'), { recursive: true })
    fs.mkdirSync(at('mnt/third'))
    run('mount', '--bind', other.path, at('mnt/other'))
    run('mount', '--bind', third.path, at('mnt/third'))
    {
      await using mount = await mounted(filesystem.path, { flags: { cross: true } })
      const through = (name: string) => `${mount.path}/${name}`
      const found = identities(mount.path)
      expect([...found.keys()]).toEqual([...identities(filesystem.path).keys()])
      expect(new Set([...found.values()].map(({ ino }) => ino)).size).toBe(found.size)
      for (const [name, { isDirectory }] of found)
        if (!isDirectory) expect(fs.readFileSync(through(name)).equals(fs.readFileSync(at(name))), name).toBe(true)
      expect(run('stat', '-f', '-c', '%b', through('mnt/other'))).toBe(run('stat', '-f', '-c', '%b', other.path))
      const { ino } = fs.statSync(through('mnt/other/tree/deep/one7'))
      fs.renameSync(`${other.path}/tree/deep/one7`, `${other.path}/moved`)
      await sleep(1200)
      expect(fs.statSync(through('mnt/other/moved')).ino).toBe(ino)
      expect(fs.readFileSync(through('mnt/other/moved'), 'utf8')).toBe(`${other.path} 7`)
    }
    run('umount', at('mnt/other'))
    run('umount', at('mnt/third'))
  })
})

/** A shell that waits in `directory` for commands: somebody whose working directory is there. */
function shell(directory: string): { ask(command: string): Promise<string>; end(): void } {
  const child = spawn('sh', { cwd: directory, stdio: 'pipe' })
  child.stdout.setEncoding('utf8')
  return {
    ask: (command) =>
      new Promise((resolve) => {
        let output = ''
        const listen = (text: string) => {
          output += text
          if (!output.endsWith('\0')) return
          child.stdout.off('data', listen)
          resolve(output.slice(0, -1).trim())
        }
        child.stdout.on('data', listen)
        child.stdin.write(`${command} 2>&1; printf '\\0'\n`)
      }),
    end: () => child.stdin.end(),
  }
}
