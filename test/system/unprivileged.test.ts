/** A mount by a user who is not root: through fusermount3, without passthrough, with homes where the user may write. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import type { StatusReport } from '../../src/daemon/status.ts'
import { clone, extentsOf, forgetCached, MEBIBYTE, noise, overwrite, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { PYTHON } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { expectNoProcess, mountsAt, samepage } from '../support/samepage.ts'

/** nobody and daemon, which every machine has: fusermount3 asks for the user's name. */
const USER = { uid: 65_534, gid: 65_534 }
const STRANGER = { uid: 1, gid: 1 }
const SIZE = 16 * MEBIBYTE

interface Ground extends AsyncDisposable {
  readonly filesystem: LoopFilesystem
  readonly source: string
  readonly mountpoint: string
  readonly env: NodeJS.ProcessEnv
}

/** XFS with a directory of the user's: a file, three pristine clones, one with a page of its own. */
async function usersClones(): Promise<Ground> {
  const filesystem = await loopFilesystem('xfs')
  const source = `${filesystem.path}/own`
  const mountpoint = `${filesystem.directory}/mnt`
  const runtime = `${filesystem.directory}/run`
  for (const directory of [source, mountpoint, runtime]) fs.mkdirSync(directory)
  writeSynced(`${source}/original`, noise(SIZE, 1))
  for (const name of ['one', 'two', 'three', 'diverged']) clone(`${source}/original`, `${source}/${name}`)
  overwrite(`${source}/diverged`, 4 * MEBIBYTE, Buffer.alloc(4096, 'own page'))
  for (const name of fs.readdirSync(source)) {
    fs.chmodSync(`${source}/${name}`, 0o600)
    fs.chownSync(`${source}/${name}`, USER.uid, USER.gid)
    forgetCached(`${source}/${name}`)
  }
  for (const directory of [source, mountpoint, runtime]) fs.chownSync(directory, USER.uid, USER.gid)
  return {
    filesystem,
    source,
    mountpoint,
    env: { XDG_RUNTIME_DIR: runtime },
    [Symbol.asyncDispose]: () => filesystem[Symbol.asyncDispose](),
  }
}

/** Runs a program as a user. */
function as({ uid, gid }: typeof USER, program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', uid, gid, stdio: ['ignore', 'pipe', 'pipe'] })
}

function statusOf({ mountpoint, env }: Ground): StatusReport {
  const { stdout, stderr } = samepage(['status', '--json', mountpoint], { ...USER, env })
  expect(stderr).toBe('')
  return (JSON.parse(stdout) as [StatusReport])[0]
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'cachestat', 'program:fusermount3'], 'an ordinary user', () => {
  test('mounts, reads the same bytes, holds what clones share once, and unmounts', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env, filesystem } = ground
    await using mount = await mounted(source, { ...USER, env, at: mountpoint })
    expect(mount.stdout).toContain('read through the daemon (no passthrough)')
    for (const pid of [mount.process.pid!, statusOf(ground).pid])
      expect(fs.readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(
        new RegExp(`^Uid:\\s+${USER.uid}\\s+${USER.uid}\\s`, 'm'),
      )

    const before = filesystem.bytesRead()
    // Only later compared with the source, which caches each clone for itself.
    for (const name of ['original', 'one', 'two', 'three', 'diverged']) as(USER, 'md5sum', `${mountpoint}/${name}`)
    const read = filesystem.bytesRead() - before

    const { passthrough, homes, files, sharing } = statusOf(ground)
    expect({ passthrough, sharing }).toMatchObject({ passthrough: false, sharing: { possible: true } })
    expect(homes).toMatchObject({ homes: 1, members: 5, cachedBytes: SIZE })
    expect(homes.nativeBytes).toBe(5 * SIZE - 4096)
    expect(files).toMatchObject({ pristine: 0, mapped: 5 })
    // Of five files of 16 MiB one was read from the device, and a page: the rest is metadata.
    expect(read).toBeGreaterThanOrEqual(SIZE)
    expect(read).toBeLessThan(SIZE + 2 * MEBIBYTE)

    for (const name of ['original', 'one', 'two', 'three', 'diverged'])
      expect(as(USER, 'cmp', `${source}/${name}`, `${mountpoint}/${name}`)).toBe('')
    expect(samepage(['umount', mountpoint], { ...USER, env })).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(await mount.ended).toBe(0)
    expect(mountsAt(mountpoint)).toEqual([])
    expect(fs.readdirSync(source).sort()).toEqual(['diverged', 'one', 'original', 'three', 'two'])
    await expectNoProcess(filesystem.directory)
  })

  test('keeps the mount to himself: neither root nor others look in', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    await using _ = await mounted(source, { ...USER, env, at: mountpoint })
    expect(() => as(STRANGER, 'ls', mountpoint)).toThrow(/Permission denied/)
    expect(() => fs.readdirSync(mountpoint)).toThrow('EACCES')
    expect(samepage(['umount', mountpoint], { ...STRANGER, env: { XDG_RUNTIME_DIR: '/nowhere' } })).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^samepage: .+\n$/),
    })
    expect(mountsAt(mountpoint)).toEqual(['fuse.samepage'])
  })

  test('is told of a mount of his that was made with another XDG_RUNTIME_DIR, which is not said to be none', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env, filesystem } = ground
    await using _ = await mounted(source, { ...USER, env, at: mountpoint })
    const elsewhere = { ...USER, env: { XDG_RUNTIME_DIR: filesystem.path } }
    for (const command of [['status'], ['status', mountpoint]]) {
      const { status, stdout, stderr } = samepage(command, elsewhere)
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
      expect(stderr).toContain(`samepage: ${mountpoint} does not answer: `)
      expect(stderr).toContain(`its control socket is not in ${filesystem.path}/samepage\n`)
    }
    expect(samepage(['status', mountpoint], { ...USER, env }).status).toBe(0)
  })

  test('mounts in the background, and a busy mount is refused and detached as with root', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env, filesystem } = ground
    const user = { ...USER, env }
    expect(samepage(['mount', '-dq', source, mountpoint], user)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(samepage(['status'], user).stdout).toContain(`${mountpoint}\n`)
    // A descriptor of the mount that is the user's.
    const holder = `exec 3< '${mountpoint}/one'; '${process.execPath}' "$0" umount '${mountpoint}'; echo $?`
    const busy = execFileSync('sh', ['-c', holder, PROGRAM], {
      ...USER,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, ...env },
    })
    expect(busy).toBe('1\n')
    expect(samepage(['umount', '--lazy', mountpoint], user)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(mountsAt(mountpoint)).toEqual([])
    await expectNoProcess(filesystem.directory)
  })

  test('whose fusermount3 is gone at the end is told that the mount stays, and can clear it when it is back', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env, filesystem } = ground
    const programs = `${filesystem.directory}/bin`
    const fusermount = execFileSync('sh', ['-c', 'command -v fusermount3'], { encoding: 'utf8' }).trim()
    fs.mkdirSync(programs)
    fs.symlinkSync(fusermount, `${programs}/fusermount3`)
    await using mount = await mounted(source, {
      at: mountpoint,
      ...USER,
      env: { ...env, PATH: programs },
      maySuffer: true,
    })
    fs.unlinkSync(`${programs}/fusermount3`)
    mount.process.kill('SIGTERM')
    expect(await mount.ended).toBe(1)
    expect(mount.stderr).toContain(`${mountpoint} stays mounted`)
    expect(mount.stderr).toContain('fusermount3 is needed to unmount')
    expect(mountsAt(mountpoint)).toEqual(['fuse.samepage'])
    expect(samepage(['umount', mountpoint], { ...USER, env })).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(mountsAt(mountpoint)).toEqual([])
  })

  test('whose directory cannot be written gets the bytes, without homes', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    fs.chownSync(source, 0, 0)
    await using _ = await mounted(source, { ...USER, env, at: mountpoint })
    for (const name of ['one', 'diverged'])
      expect(as(USER, 'cmp', `${source}/${name}`, `${mountpoint}/${name}`)).toBe('')
    expect(statusOf(ground).homes).toMatchObject({ homes: 0, cachedBytes: 0 })
  })

  test('cannot read through the mount what he may not read in the source', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    fs.chownSync(`${source}/two`, 0, 0)
    await using _ = await mounted(source, { ...USER, env, at: mountpoint })
    expect(() => as(USER, 'cat', `${mountpoint}/two`)).toThrow(/Permission denied/)
    expect(as(USER, 'cmp', `${source}/one`, `${mountpoint}/one`)).toBe('')
  })

  test('writes what he has open, at the end or elsewhere, whatever its mode has become', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    await using _ = await mounted(source, { ...USER, env, at: mountpoint })
    as(
      USER,
      PYTHON,
      '-c',
      `import fcntl, os
f = os.open("${mountpoint}/new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o444)
os.write(f, b"one")
fcntl.fcntl(f, fcntl.F_SETFL, os.O_APPEND)
os.pwrite(f, b"two", 0)
os.chmod("${mountpoint}/new", 0)
a = os.open("${mountpoint}/one", os.O_WRONLY | os.O_APPEND)
os.chmod("${mountpoint}/one", 0)
fcntl.fcntl(a, fcntl.F_SETFL, 0)
os.pwrite(a, b"three", 0)
os.copy_file_range(f, a, 3, 3, 5)`,
    )
    expect(fs.readFileSync(`${source}/new`, 'utf8')).toBe('onetwo')
    expect(fs.readFileSync(`${source}/one`, 'utf8').slice(0, 8)).toBe('threetwo')
  })

  test('writes what he may not read, and is not let read it', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    fs.chmodSync(`${source}/one`, 0o200)
    await using _ = await mounted(source, { ...USER, env, at: mountpoint })
    const said = as(
      USER,
      PYTHON,
      '-c',
      `import os
f = os.open("${mountpoint}/one", os.O_WRONLY)
again = os.open("${mountpoint}/one", os.O_WRONLY | os.O_APPEND)
os.pwrite(f, b"written", ${4 * MEBIBYTE} + 100)
os.write(again, b"appended")
try: os.open("${mountpoint}/one", os.O_RDONLY)
except PermissionError: print("refused")`,
    )
    expect(said).toBe('refused\n')
    const expected = Buffer.concat([noise(SIZE, 1), Buffer.from('appended')])
    expected.write('written', 4 * MEBIBYTE + 100)
    expect(fs.readFileSync(`${source}/one`).equals(expected)).toBe(true)
    // Now that he may read it.
    fs.chmodSync(`${source}/one`, 0o600)
    expect(as(USER, 'cmp', `${source}/one`, `${mountpoint}/one`)).toBe('')
    expect(as(USER, 'cmp', `${source}/two`, `${mountpoint}/two`)).toBe('')
  })

  test('leaves the sharing on disk as it was', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    const addresses = () => Array.from(extentsOf(`${source}/one`).physical.slice(0, extentsOf(`${source}/one`).count))
    const before = addresses()
    {
      await using _ = await mounted(source, { ...USER, env, at: mountpoint })
      as(USER, 'md5sum', `${mountpoint}/one`)
    }
    expect(addresses()).toEqual(before)
  })

  test('with a hard limit of how long files may become is told that it holds for what is written through the mount', async () => {
    await using ground = await usersClones()
    const { source, mountpoint, env } = ground
    const wrapper = ['prlimit', '--fsize=100000:200000']
    await using mount = await mounted(source, { ...USER, env, at: mountpoint, wrapper, maySuffer: true })
    const write = (bytes: number) => () => as(USER, 'truncate', `--size=${bytes}`, `${mountpoint}/new`)
    expect(write(200_000)).not.toThrow()
    expect(write(200_001)).toThrow('File too large')
    expect(mount.stderr).toMatch(/no file can be written beyond 195 KiB through the mount: .*ulimit -Hf/)
  })
})
