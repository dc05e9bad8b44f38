/** samepage doctor on machines, users and file systems of many kinds: what it says must be what a mount then does. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { describe, expect, test } from 'vitest'
import type { DoctorReport } from '../../src/cli/doctor.ts'
import { clone, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { describeWith, requires } from '../support/requires.ts'
import { type RunOptions, samepage } from '../support/samepage.ts'
import { settle } from '../support/settled.ts'

const MEBIBYTE = 2 ** 20

interface Answer {
  readonly status: number | null
  readonly report: DoctorReport
  /** The states by the findings' names. */
  readonly states: Readonly<Record<string, string>>
}

function doctor(args: readonly string[], options?: RunOptions): Answer {
  const { status, stdout, stderr } = samepage(['doctor', '--json', ...args], options)
  expect(stderr).toBe('')
  const report = JSON.parse(stdout) as DoctorReport
  const findings = [...report.machine, ...report.place]
  return { status, report, states: Object.fromEntries(findings.map(({ id, state }) => [id, state])) }
}

function findingOf({ report }: Answer, id: string): string {
  const finding = [...report.machine, ...report.place].find((one) => one.id === id)
  return `${finding?.means} ${finding?.remedy}`
}

/** What the probes could leave behind: temporary directories, mounts, and anything in the directory that was examined. */
function traces(directory?: string): string[] {
  return [
    ...fs.readdirSync(os.tmpdir()).filter((name) => name.startsWith('samepage-doctor-')),
    ...fs
      .readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes('samepage-doctor')),
    ...(directory === undefined ? [] : fs.readdirSync(directory)),
  ]
}

describe('samepage doctor', () => {
  test('explains each finding, and how to get the rest', () => {
    const { stdout, status } = samepage(['doctor'])
    expect([0, 1]).toContain(status)
    expect(stdout).toMatch(/^This machine\n(( {2}(ok|limited|missing) +\S.*| {20,}\S.*)\n)+\n.+\n$/)
    // Not a terminal: no colour.
    expect(stdout).not.toContain('\u001b')
    const { report } = doctor([])
    expect(report).toMatchObject({ schema: 1, path: null, place: [], ready: status === 0 })
    for (const { what, means, state, remedy } of report.machine) {
      expect(stdout.replace(/\s+/g, ' ')).toContain(`${state} ${what} ${means}`)
      if (state === 'missing') expect(remedy ?? means).not.toBe('')
    }
    expect(traces()).toEqual([])
  })

  test('says what a path is that it cannot examine', () => {
    expect(samepage(['doctor', '/no/such/place'])).toEqual({
      status: 1,
      stdout: '',
      stderr: 'samepage: /no/such/place does not exist\n',
    })
  })
})

describeWith(['root', 'loop', 'xfs', 'btrfs', 'fuse'], 'samepage doctor as root', () => {
  test('finds all that sharing needs on XFS, and leaves nothing behind', async () => {
    await using xfs = await loopFilesystem('xfs')
    const used = usedInodes(xfs)
    const answer = doctor([xfs.path])
    expect(answer.status).toBe(0)
    expect(answer.report).toMatchObject({ ready: true, path: xfs.path })
    expect(answer.states).toMatchObject({
      fuse: 'ok',
      'file-system': 'ok',
      homes: 'ok',
      'file-handles': 'ok',
      'detached-mount': 'ok',
      watch: 'ok',
    })
    if (requires('passthrough').length === 0)
      expect(answer.states).toMatchObject({ kernel: 'ok', passthrough: 'ok', 'direct-io-mmap': 'ok' })
    expect(traces(xfs.path)).toEqual([])
    expect(usedInodes(xfs)).toBe(used)
    // A file is as good as its directory.
    fs.writeFileSync(`${xfs.path}/file`, '')
    expect(doctor([`${xfs.path}/file`]).report.path).toBe(xfs.path)
  })

  test('is right where clones cannot be, and says why', async () => {
    await using ext4 = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    const answer = doctor([ext4.path])
    expect(answer).toMatchObject({ status: 1, report: { ready: false }, states: { 'file-system': 'missing' } })
    expect(findingOf(answer, 'file-system')).toMatch(/ext4 has no clones .*XFS or btrfs/)
    expect(answer.states.homes).toBeUndefined()
    expect(samepage(['doctor', ext4.path]).stdout).toMatch(
      /\nFiles cannot share memory here, because of: file system\.\n$/,
    )
    await using mount = await mounted(ext4.path)
    expect((await mount.status()).sharing.possible).toBe(false)
  })

  test('tells an XFS without reflinks, and how to get them', async () => {
    await using xfs = await loopFilesystem('xfs', { mkfs: ['-m', 'reflink=0'] })
    const answer = doctor([xfs.path])
    expect(answer).toMatchObject({ status: 1, states: { 'file-system': 'missing' } })
    expect(findingOf(answer, 'file-system')).toMatch(/without reflink support.*make the file system anew/)
  })

  test('tells what a mount then finds: whether new files are compressed', async () => {
    await using plain = await loopFilesystem('btrfs')
    expect(doctor([plain.path])).toMatchObject({ status: 0, states: { 'file-system': 'ok', compression: 'ok' } })
    execFileSync('chattr', ['+c', plain.path])
    expect(doctor([plain.path]).states.compression).toBe('limited')

    await using btrfs = await loopFilesystem('btrfs', { mount: ['compress=zstd'] })
    const answer = doctor([btrfs.path])
    expect(answer).toMatchObject({ status: 0, states: { compression: 'limited' } })
    expect(findingOf(answer, 'compression')).toMatch(/share no memory .*without compress=/)
    expect(traces(btrfs.path)).toEqual([])
    writeSynced(`${btrfs.path}/original`, Buffer.alloc(4 * MEBIBYTE, 'compressible '))
    clone(`${btrfs.path}/original`, `${btrfs.path}/clone`)
    await settle()
    await using mount = await mounted(btrfs.path)
    for (const name of ['original', 'clone'])
      expect(fs.readFileSync(`${mount.path}/${name}`).equals(fs.readFileSync(`${btrfs.path}/${name}`))).toBe(true)
    expect((await mount.status()).homes).toMatchObject({ homesMade: 0, private: { compressed: 2, 'little shared': 0 } })
    expect(samepage(['status', mount.path]).stdout).toMatch(/^ {2}private because +compressed \(2\)/m)
  })

  test('tells a file system that nobody can write from a mount that is read-only', async () => {
    await using xfs = await loopFilesystem('xfs')
    const view = `${xfs.directory}/view`
    fs.mkdirSync(view)
    execFileSync('mount', ['--bind', '-o', 'ro', xfs.path, view])
    const ofView = doctor([view])
    expect(ofView).toMatchObject({ status: 1, states: { 'file-system': 'missing' } })
    expect(findingOf(ofView, 'file-system')).toContain('mount it for writing')
    execFileSync('umount', [view])

    execFileSync('mount', ['-o', 'remount,ro', xfs.path])
    execFileSync('/sbin/blockdev', ['--setro', xfs.device])
    try {
      const frozen = doctor([xfs.path])
      expect(frozen).toMatchObject({ status: 0, states: { 'file-system': 'ok', homes: 'ok' } })
      expect(findingOf(frozen, 'homes')).toContain('are their own homes')
    } finally {
      // It would stay so for whoever gets the device next.
      execFileSync('/sbin/blockdev', ['--setrw', xfs.device])
    }
  })

  test('tells when no home can be made, for want of space', async () => {
    await using xfs = await loopFilesystem('xfs', { size: 300 * MEBIBYTE })
    try {
      execFileSync('dd', ['if=/dev/zero', `of=${xfs.path}/full`, 'bs=1M', 'status=none'], { stdio: 'ignore' })
    } catch {
      // That is what it is for.
    }
    for (let i = 0, room = true; room; i++) {
      try {
        fs.writeFileSync(`${xfs.path}/small${i}`, Buffer.alloc(4096, 1))
      } catch {
        room = false
      }
    }
    const answer = doctor([xfs.path])
    expect(answer).toMatchObject({ status: 1, states: { homes: 'missing' } })
    expect(findingOf(answer, 'homes')).toMatch(/ENOSPC.*free some space/)
  })

  test('knows a Samepage mount, and its source', async () => {
    await using xfs = await loopFilesystem('xfs')
    fs.mkdirSync(`${xfs.path}/inner`)
    await using mount = await mounted(xfs.path)
    const answer = doctor([`${mount.path}/inner`])
    expect(answer).toMatchObject({ status: 1, states: { 'file-system': 'missing' } })
    expect(findingOf(answer, 'file-system')).toBe(
      `a Samepage mount already ask about its source: samepage doctor ${xfs.path}`,
    )
  })

  test('without the privilege to mount', async () => {
    const answer = doctor([], { wrapper: ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin'] })
    expect(answer).toMatchObject({ status: 1, states: { privileges: 'limited', fuse: 'missing' } })
    expect(findingOf(answer, 'fuse')).toMatch(/EPERM.*--cap-add SYS_ADMIN/)
    // Passthrough was not tried, so nothing is said of it.
    expect(answer.states.passthrough).toBeUndefined()
  })

  test.each([
    ['mount -t tmpfs none /dev', /ENOENT.*modprobe fuse/],
    ['mount --bind /dev/null /dev/fuse', /is not the FUSE device/],
  ])('without /dev/fuse: %s', (preparation, text) => {
    const inNamespace = [
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      `${preparation} && exec "$@"`,
      'sh',
    ]
    const answer = doctor([], { wrapper: inNamespace })
    expect(answer).toMatchObject({ status: 1, states: { fuse: 'missing' } })
    expect(findingOf(answer, 'fuse')).toMatch(text)
  })

  test('with few descriptors', () => {
    const answer = doctor([], { wrapper: ['prlimit', '--nofile=1024:1024'] })
    expect(answer.states.descriptors).toBe('limited')
    expect(findingOf(answer, 'descriptors')).toContain('at most 1,024: room for 256 homes')
  })

  test('with too few descriptors for a mount to start', () => {
    const answer = doctor([], { wrapper: ['prlimit', '--nofile=200:200'] })
    expect(answer).toMatchObject({ status: 1, states: { descriptors: 'missing' } })
    const [, needed] = /a mount needs (\d+) to start/.exec(findingOf(answer, 'descriptors'))!
    const start = (limit: number) =>
      samepage(['mount', '/nothing', os.tmpdir()], { wrapper: ['prlimit', `--nofile=${limit}:${limit}`] }).stderr
    expect(start(Number(needed) - 1)).toContain(`needs ${needed} to start`)
    expect(start(Number(needed))).toContain('does not exist')
  })

  test('in a user namespace tells what a mount there then does', async () => {
    await using xfs = await loopFilesystem('xfs')
    const wrapper = ['unshare', '--user', '--map-root-user', '--mount']
    const answer = doctor([xfs.path], { wrapper })
    expect(answer).toMatchObject({ status: 0, states: { fuse: 'ok', passthrough: 'limited', homes: 'ok' } })
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:fusermount3'], 'samepage doctor as an ordinary user', () => {
  const nobody = { uid: 65534, gid: 65534 }

  test('finds what is needed in a directory of the user', async () => {
    await using xfs = await loopFilesystem('xfs')
    fs.mkdirSync(`${xfs.path}/own`)
    fs.chownSync(`${xfs.path}/own`, nobody.uid, nobody.gid)
    const answer = doctor([`${xfs.path}/own`], nobody)
    expect(answer.status).toBe(0)
    expect(answer.states).toMatchObject({
      privileges: 'limited',
      fuse: 'ok',
      passthrough: 'limited',
      fusermount3: 'ok',
      homes: 'ok',
      'file-handles': 'limited',
      'detached-mount': 'limited',
      watch: 'limited',
    })
    expect(findingOf(answer, 'passthrough')).toMatch(/not for this user.*as root/)
    expect(traces(`${xfs.path}/own`)).toEqual([])
  })

  test('says that no home can be made where the user may not write', async () => {
    await using xfs = await loopFilesystem('xfs')
    const answer = doctor([xfs.path], nobody)
    expect(answer).toMatchObject({ status: 1, states: { homes: 'missing' } })
    expect(findingOf(answer, 'homes')).toMatch(/EACCES.*mount as root/)
  })

  test('says that fusermount3 is missing', async () => {
    await using xfs = await loopFilesystem('xfs')
    const answer = doctor([], { ...nobody, env: { PATH: xfs.directory } })
    expect(answer).toMatchObject({ status: 1, states: { fusermount3: 'missing', fuse: 'missing' } })
    expect(findingOf(answer, 'fusermount3')).toContain('install it')
  })
})

describeWith(['program:script'], 'samepage doctor on a terminal', () => {
  test('is coloured there, unless NO_COLOR is set', () => {
    const onTerminal = (env: NodeJS.ProcessEnv) =>
      execFileSync('script', ['--quiet', '--command', `'${process.execPath}' '${PROGRAM}' doctor`, '/dev/null'], {
        encoding: 'utf8',
        env: { ...process.env, TERM: 'xterm', NO_COLOR: undefined, FORCE_COLOR: undefined, CI: undefined, ...env },
      })
    expect(onTerminal({})).toContain('\u001b[32mok')
    expect(onTerminal({ NO_COLOR: '1' })).not.toContain('\u001b[')
  })
})

function usedInodes(xfs: LoopFilesystem): number {
  execFileSync('sync', ['--file-system', xfs.path])
  const { files, ffree } = fs.statfsSync(xfs.path)
  return files - ffree
}
