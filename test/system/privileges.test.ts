/** What an ordinary user may not do in the source he may not do through a mount of root's. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type MountFlags, mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

const USER = 65_534
const CAP_SYS_RESOURCE = 24n

describeWith(['root', 'loop', 'ext4', 'xfs', 'fuse', 'program:python3'], 'through a mount of root’s', () => {
  test.each([
    ['with passthrough', {}],
    ['through the daemon', { passthrough: false as const }],
    ['below a source that keeps nothing', { cross: true as const }],
    ['below such a source, through the daemon', { cross: true as const, passthrough: false as const }],
  ])('a user leaves root what is kept for root, and root has it: %s', async (_, flags: MountFlags) => {
    await using ext4 = await loopFilesystem('ext4', { size: 128 * MEBIBYTE, mkfs: ['-m', '10'] })
    fs.chmodSync(ext4.path, 0o777)
    const free = () => {
      run('sync', '--file-system', ext4.path)
      const { bfree, bavail, bsize } = fs.statfsSync(ext4.path)
      return { root: bfree * bsize, users: bavail * bsize }
    }
    const kept = free().root - free().users
    expect(kept).toBeGreaterThan(10 * MEBIBYTE)
    await using source = flags.cross ? await loopFilesystem('xfs') : undefined
    if (source !== undefined) {
      fs.mkdirSync(`${source.path}/crossed`)
      run('mount', '--bind', ext4.path, `${source.path}/crossed`)
    }
    await using mount = await mounted(source?.path ?? ext4.path, { flags })
    const path = source === undefined ? mount.path : `${mount.path}/crossed`
    await using user = startClient(['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups'])
    await using root = startClient()
    const fill = `
def fill(path):
    f = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        while os.write(f, b"x" * 65536) == 65536:
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
    os.fsync(f)
    os.close(f)
fill(path)`
    await user.run(fill, { path: `${path}/users` })
    expect(free().root).toBeGreaterThan(kept * 0.98)
    await root.run(fill, { path: `${path}/roots` })
    expect(free().root).toBeLessThan(kept / 2)
  })

  test('limits hold that are forgotten for who may go beyond them: quotas are such', async () => {
    await using ext4 = await loopFilesystem('ext4')
    await using mount = await mounted(ext4.path, { flags: { workers: 4 } })
    const [serving] = fs
      .readFileSync(`/proc/${mount.process.pid}/task/${mount.process.pid}/children`, 'utf8')
      .split(' ')
    const isHeld = (thread: string) => {
      const effective = /^CapEff:\s*(\S+)$/m.exec(fs.readFileSync(`/proc/${serving}/task/${thread}/status`, 'utf8'))![1]
      return (BigInt(`0x${effective}`) & (1n << CAP_SYS_RESOURCE)) === 0n
    }
    // Threads that Node.js has started for itself make no system calls for clients. Those of the mount are started by the first, and are at least these: workers, monitor, notifier.
    expect(isHeld(serving!)).toBe(true)
    expect(fs.readdirSync(`/proc/${serving}/task`).filter(isHeld).length).toBeGreaterThanOrEqual(1 + 4 + 2)
  })

  test.each([
    ['with passthrough', {}],
    ['through the daemon', { passthrough: false as const }],
  ])('root’s writes leave the set-id bits on ext4, where they are passed on as nobody’s: %s', async (_, flags) => {
    await using ext4 = await loopFilesystem('ext4')
    await using mount = await mounted(ext4.path, { flags })
    await using root = startClient()
    for (const owner of [0, USER]) {
      const path = `${mount.path}/of${owner}`
      fs.writeFileSync(path, 'a program')
      fs.chownSync(path, owner, owner)
      fs.chmodSync(path, 0o6755)
      await root.run('f = os.open(path, os.O_RDWR)', { path })
      await root.run('os.pwrite(f, b"another", 0)')
      await root.run('os.close(f)')
      expect(fs.statSync(path).mode & 0o7777).toBe(0o6755)
    }
  })
})

describeWith(
  ['root', 'loop', 'xfs', 'fuse', 'program:python3', 'program:prlimit'],
  'how long a file may become',
  () => {
    test.each([
      ['with passthrough', {}],
      ['through the daemon', { passthrough: false as const }],
    ])('is limited to each client’s own limit, not by that of who mounted: %s', async (_, flags) => {
      await using xfs = await loopFilesystem('xfs')
      writeSynced(`${xfs.path}/original`, noise(8 * MEBIBYTE, 1))
      clone(`${xfs.path}/original`, `${xfs.path}/clone`)
      await using mount = await mounted(xfs.path, { flags, wrapper: ['prlimit', '--fsize=100000:unlimited'] })
      await using unlimited = startClient()
      await using limited = startClient(['prlimit', `--fsize=${9 * MEBIBYTE}`])
      const calls = [
        'os.pwrite(f, bytes(65536), size)',
        'os.ftruncate(f, size + 65536)',
        'os.posix_fallocate(f, size, 65536)',
        'os.copy_file_range(f, f, 65536, 0, size)',
      ]
      for (const name of ['clone', 'new'])
        for (const call of calls) {
          const setUp = 'f = os.open(path, os.O_RDWR | os.O_CREAT)'
          for (const client of [unlimited, limited]) {
            await client.run(setUp, { path: `${mount.path}/${name}` })
            await client.run(call, { size: 8 * MEBIBYTE })
          }
          await expect(limited.run(call, { size: 9 * MEBIBYTE }), `${name}: ${call}`).rejects.toThrow('EFBIG')
          await unlimited.run(call, { size: 9 * MEBIBYTE })
          expect(fs.statSync(`${xfs.path}/${name}`).size, `${name}: ${call}`).toBe(9 * MEBIBYTE + 65_536)
          for (const client of [unlimited, limited]) await client.run('os.close(f)')
          fs.truncateSync(`${mount.path}/${name}`, 8 * MEBIBYTE)
        }
    })
  },
)

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'what clients create in directories of others', () => {
  test('they may by a capability, or as root of a user name space, as natively', async () => {
    await using xfs = await loopFilesystem('xfs')
    for (const directory of ['source', 'twin']) fs.mkdirSync(`${xfs.path}/${directory}`)
    await using mount = await mounted(`${xfs.path}/source`)
    const natively = runPython(USERS[0]!, 'privileged_creating.py', `${xfs.path}/twin`)
    expect(natively).toContain('root of a name space 100005 mkdir 0')
    expect(runPython(USERS[0]!, 'privileged_creating.py', mount.path)).toBe(natively)
  })

  test('but not by one that holds in a name space where the directory is nobody’s, when it was closed below', async () => {
    await using xfs = await loopFilesystem('xfs')
    const directory = `${xfs.path}/source/directory`
    fs.mkdirSync(directory, { recursive: true })
    await using mount = await mounted(`${xfs.path}/source`, { args: ['--timeout', '600'] })
    const make = (name: string) =>
      spawnSync('setpriv', [
        ...['--reuid=1000', '--regid=1000', '--clear-groups'],
        ...['unshare', '--user', '--map-root-user', 'mkdir', `${mount.path}/directory/${name}`],
      ]).status
    fs.chmodSync(directory, 0o777)
    expect(fs.statSync(`${mount.path}/directory`).mode & 0o777).toBe(0o777)
    expect(make('before')).toBe(0)
    fs.chmodSync(directory, 0o700)
    expect(make('after')).toBe(1)
    expect(fs.readdirSync(directory)).toEqual(['before'])
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'set-id programs and devices', () => {
  test.each([
    ['are neither by default', [], [], { user: '0', device: 'EACCES' }],
    ['are what they are in the source with --suid and --dev', [], ['--suid', '--dev'], { user: `${USER}`, device: 3 }],
    [
      'not where they are neither in the source',
      ['nosuid', 'nodev'],
      ['--suid', '--dev'],
      { user: '0', device: 'EACCES' },
    ],
  ] as const)('%s', async (_, mount, args, expected) => {
    await using xfs = await loopFilesystem('xfs', { mount: [...mount] })
    fs.copyFileSync('/usr/bin/id', `${xfs.path}/id`)
    fs.chownSync(`${xfs.path}/id`, USER, USER)
    fs.chmodSync(`${xfs.path}/id`, 0o4755)
    await using mounting = await mounted(xfs.path, { args: [...args] })
    // Made through the mount, as its root.
    run('mknod', `${mounting.path}/null`, 'c', '1', '3')
    await using client = startClient()
    const device = await client.outcome('os.write(os.open(path, os.O_WRONLY), b"...")', {
      path: `${mounting.path}/null`,
    })
    expect({ user: run(`${mounting.path}/id`, '-u').trim(), device }).toEqual(expected)
  })
})
