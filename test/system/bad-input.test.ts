/** What users get wrong, and what goes wrong under them: a clear error, no hang, nothing left behind. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { readMountInfo } from '../../src/linux/mountinfo.ts'
import { runtimeDirectory } from '../../src/util/runtime-directory.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, overwrite, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { controlSockets, expectNoProcess, mountsAt, samepage, samepageInShell } from '../support/samepage.ts'
import { ROOT } from '../support/sources.ts'

type Ground = LoopFilesystem & { readonly mountpoint: string }

async function clones(): Promise<Ground> {
  const xfs = await loopFilesystem('xfs')
  const mountpoint = `${xfs.directory}/mnt`
  fs.mkdirSync(mountpoint)
  fs.mkdirSync(`${xfs.path}/inner`)
  writeSynced(`${xfs.path}/original`, noise(4 * MEBIBYTE, 1))
  clone(`${xfs.path}/original`, `${xfs.path}/diverged`)
  overwrite(`${xfs.path}/diverged`, MEBIBYTE, Buffer.alloc(4096, 'own page'))
  return Object.assign(xfs, { mountpoint })
}

/** One line for people, status 1, and nothing mounted. */
function expectRefusal(outcome: ReturnType<typeof samepage>, text: string | RegExp, status = 1): void {
  expect(outcome).toMatchObject({ status, stdout: '', stderr: expect.stringMatching(/^samepage: [^\n]+\n$/) })
  expect(outcome.stderr).toMatch(text)
}

describeWith(['root', 'loop', 'xfs', 'fuse'], 'samepage mount refuses', () => {
  test('sources and mountpoints that cannot be', async () => {
    await using xfs = await clones()
    const { path: source, mountpoint, directory } = xfs
    const refused: [source: string, mountpoint: string, text: string][] = [
      [`${directory}/nothing`, mountpoint, 'does not exist'],
      [`${source}/original`, mountpoint, 'is not a directory'],
      [source, `${directory}/nothing`, 'does not exist'],
      [source, `${source}/original`, 'is not a directory'],
      [source, `${source}/inner`, 'lies inside the source'],
      [`${source}/inner`, source, 'lies inside the mountpoint'],
      [source, directory, 'lies inside the mountpoint'],
      [source, '/', 'lies inside the mountpoint'],
    ]
    for (const [from, to, text] of refused) expectRefusal(samepage(['mount', from, to]), text)

    expectRefusal(samepage(['mount', '--node', '9', source, mountpoint]), /there is no NUMA node 9 .* are 0/)
    expectRefusal(
      samepage(['mount', '--numa', 'replicate', source, mountpoint]),
      /--numa places .* add "--merge content/,
      2,
    )
    const both = ['--numa', 'inode', '--node', '0', '--merge', 'content', '--memory', '64MiB']
    expectRefusal(samepage(['mount', ...both, source, mountpoint]), 'choose either', 2)

    expectRefusal(
      samepageInShell(['mount', source, mountpoint], 'ulimit -n 200; "$@"'),
      /may open 200 files here.* needs 256/,
    )
    expectRefusal(
      samepageInShell(['mount', source], `"$@" "$(printf '${mountpoint}/x\\377')"`),
      /does not exist, or its name is not UTF-8/,
    )

    fs.writeFileSync(`${mountpoint}/something`, '')
    expectRefusal(samepage(['mount', source, mountpoint]), 'is not empty')
    fs.rmSync(`${mountpoint}/something`)
    fs.symlinkSync('loop', `${directory}/loop`)
    expectRefusal(samepage(['mount', `${directory}/loop`, mountpoint]), 'symlink that leads back to itself')

    execFileSync('mount', ['-t', 'tmpfs', 'busy', mountpoint])
    expectRefusal(samepage(['mount', source, mountpoint]), /is busy: busy \(tmpfs\)/)
    execFileSync('umount', [mountpoint])
    expect(mountsAt(mountpoint)).toEqual([])
    await expectNoProcess(directory)
  })

  test('a current directory that does not exist any more', async () => {
    const parent = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-outside-'))
    for (const command of [
      ['umount', '.'],
      ['status', '.'],
      ['demo', '--on', '.'],
    ])
      expectRefusal(
        samepageInShell(command, `mkdir ${parent}/gone && cd ${parent}/gone && rmdir ${parent}/gone && "$@"`),
        'samepage: the current directory does not exist any more\n',
      )
    fs.rmdirSync(parent)
  })

  test('a source that is, lies in, or contains a Samepage mount', async () => {
    await using xfs = await clones()
    const other = `${xfs.directory}/other`
    fs.mkdirSync(other)
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint })
    expectRefusal(samepage(['mount', mount.path, other]), 'is a Samepage mount already')
    expectRefusal(samepage(['mount', `${mount.path}/inner`, other]), 'lies in the Samepage mount')
    expectRefusal(samepage(['mount', xfs.path, mount.path]), 'is busy')
    expectRefusal(samepage(['mount', xfs.directory]), 'contains the Samepage mount')
    const outside = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-outside-'))
    expectRefusal(samepage(['mount', '--cross', xfs.directory, outside]), 'contains the Samepage mount')
    fs.rmdirSync(outside)
    expect(mountsAt(other)).toEqual([])
    // Below another mount of the tree it is not seen, and does not matter.
    expect(fs.readFileSync(`${mount.path}/original`).length).toBe(4 * MEBIBYTE)
  })

  test.each([
    ['Node.js', path.dirname(process.execPath)],
    ['Samepage', fs.realpathSync(ROOT)],
    ['the directory of its control sockets', fs.realpathSync('/run')],
    ['the FUSE device', '/dev'],
  ])('to mount over what it needs itself: %s', async (what, directory) => {
    // In a name space of its own: a mount that is made all the same is nobody else's.
    const outcome = samepage(['mount', directory], { wrapper: inMountNamespace('true') })
    expectRefusal(outcome, `${directory} cannot be mounted in place: ${what} lies in it`)
    await expectNoProcess(`mount ${directory} `)
  })

  test.each([
    ['does not exist', 'mount -t tmpfs none /dev', /cannot open \/dev\/fuse \(ENOENT\).*modprobe fuse/],
    ['is something else', 'mount --bind /dev/null /dev/fuse', /\/dev\/fuse is not the FUSE device/],
    ['may not be opened', 'mount -o bind,remount,nodev /dev', /cannot open \/dev\/fuse \(EACCES\).*--device/],
  ])('a machine where /dev/fuse %s', async (_, preparation, text) => {
    await using xfs = await clones()
    const outcome = samepage(['mount', xfs.path, xfs.mountpoint], { wrapper: inMountNamespace(preparation) })
    expectRefusal(outcome, text)
    expect(mountsAt(xfs.mountpoint)).toEqual([])
    await expectNoProcess(xfs.directory)
  })

  test('root without the privilege to mount', async () => {
    await using xfs = await clones()
    const wrapper = ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin']
    expectRefusal(samepage(['mount', xfs.path, xfs.mountpoint], { wrapper }), /may not mount \(EPERM\).*SYS_ADMIN/)
    await expectNoProcess(xfs.directory)
  })

  test('a user who may not', async () => {
    await using xfs = await clones()
    const nobody = { uid: 65534, gid: 65534, env: { XDG_RUNTIME_DIR: xfs.directory } }
    // Not his directory.
    expectRefusal(
      samepage(['mount', xfs.path, xfs.mountpoint], nobody),
      'fusermount3: user has no write access to mountpoint',
    )
    fs.chmodSync(`${xfs.path}/inner`, 0o700)
    expectRefusal(samepage(['mount', `${xfs.path}/inner`, xfs.mountpoint], nobody), 'may not be read by this user')
    fs.chownSync(xfs.mountpoint, 65534, 65534)
    const without = { ...nobody, env: { ...nobody.env, PATH: xfs.directory } }
    expectRefusal(samepage(['mount', xfs.path, xfs.mountpoint], without), 'fusermount3 is needed')
    expectRefusal(samepage(['mount', '--allow-other', xfs.path, xfs.mountpoint], nobody), 'user_allow_other')
    for (const option of ['--suid', '--dev'])
      expectRefusal(samepage(['mount', option, xfs.path, xfs.mountpoint], nobody), `${option} cannot be had`)
    await expectNoProcess(xfs.directory)
  })

  test('a metrics port that is taken', async () => {
    await using xfs = await clones()
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as net.AddressInfo
    try {
      for (const flags of [[], ['--daemon']]) {
        const outcome = samepage(['mount', ...flags, '--metrics', `127.0.0.1:${port}`, xfs.path, xfs.mountpoint])
        expectRefusal(outcome, `cannot listen on 127.0.0.1:${port}: EADDRINUSE`)
        expect(mountsAt(xfs.mountpoint)).toEqual([])
        expect(controlSockets(xfs.mountpoint)).toEqual([])
      }
    } finally {
      server.close()
    }
    await expectNoProcess(xfs.directory)
  })
})

test.each([
  [['mount', '--no-such-option', '/']],
  [['mount']],
  [['mount', '/', '/mnt', '/else']],
  [['mount', '--workers', '0', '/']],
  [['mount', '--workers', 'many', '/']],
  [['mount', '--min-share', 'much', '/']],
  [['mount', '--min-write-share', 'much', '/']],
  [['mount', '--timeout', '-1', '/']],
  [['mount', '--domain', 'planet', '/']],
  [['mount', '--domain', 'mount', '/']],
  [['mount', '--merge', 'everything', '/']],
  [['mount', '--merge', 'content', '--memory', 'much', '/']],
  [['mount', '--merge', 'content', '--memory', '1GiB', '--merge-cpu', '200%', '/']],
  [['mount', '--merge', 'content', '--memory', '1GiB', '--numa', 'everywhere', '/']],
  [['mount', '--metrics', '9177', '/']],
  [['mount', '--metrics', '127.0.0.1:99999', '/']],
  [['mount', '--metrics', '127.0.0.1:0', '/']],
  [['mount', '']],
  [['umount', '']],
  [['doctor', '']],
  [['inspect', '']],
  [['inspect', '/etc', '']],
  [['inspect', '--html', '', '/etc']],
  [['dedupe', '']],
  [['demo', '--on', '']],
  [['demo', '--on', '/', '--size', '100TiB']],
  [['inspect', '--exclude', '', '/etc']],
  [['inspect', '--include', '', '/etc']],
  [['inspect', '--exclude', '/', '/etc']],
  [['dedupe', '--include', '//', '/etc']],
  [['dedupe', '--exclude', '', '/etc']],
  [['exclusive', '/etc/hostname', '--', '']],
  [['help', 'no-such-command']],
  [['help', 'mount', 'umount']],
  [['exclusive', '--range', '8KiB-4KiB', '/etc/hostname', '--', 'cat']],
  [['exclusive', '--deadline', '2s', '/etc/hostname', '--', 'cat']],
  [['umount']],
  [['status', '--yaml']],
  [['doctor', '/', '/']],
  [['completion', 'tcsh']],
  [['completion']],
  [['no-such-command']],
  [[]],
])('samepage %j is wrong use: status 2, and a hint', (args) => {
  const { status, stdout, stderr } = samepage(args)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  // Without any command the help itself is shown.
  if (args.length > 0) expect(stderr).toMatch(/^samepage: .*\n(\(.*\)\n)*\(samepage .*--help shows what there is\)\n$/)
  else expect(stderr).toMatch(/--help/)
})

test.each([[['doctor', '--json']], [['status', '--json']], [['completion', 'bash']], [['--help']]])(
  'samepage %j, and nobody takes what it says',
  (args) => {
    expect(samepageInShell(args, '(sleep 0.5; "$@") | true')).toMatchObject({ stdout: '', stderr: '' })
    const stderr = 'samepage: standard output: no space left on device\n'
    expect(samepageInShell(args, '"$@" > /dev/full')).toEqual({ status: 1, stdout: '', stderr })
  },
)

test.each([
  [['--merge', 'content'], '--merge needs --memory'],
  [['--merge', 'content', '--memory', '4096'], '256 KiB at least'],
  [['--memory', '1GiB'], '--merge or --dax auto'],
  [['--merge-cpu', '5%'], '--merge-cpu says'],
  [['--dax', 'auto'], '--dax auto needs --memory'],
  [['--dax', 'direct', '--memory', '1GiB'], '--merge or --dax auto'],
  [['--dax', 'direct', '--diverged', 'cached'], 'choose either'],
  [['--dax', 'direct', '--numa', 'replicate'], 'there is none'],
  [['--read-ahead', '1MiB'], 'on the node of --node'],
])('samepage mount %j says what is missing', (flags, message) => {
  const directories = ['source', 'mnt'].map((name) => fs.mkdtempSync(path.join(os.tmpdir(), `samepage-${name}-`)))
  const { status, stderr } = samepage(['mount', ...flags, ...directories])
  for (const directory of directories) fs.rmdirSync(directory)
  expect(status).toBe(2)
  expect(stderr).toContain(message)
})

describeWith(['root', 'loop', 'xfs', 'fuse'], 'when a process of the mount is killed', () => {
  test('the serving one: readers get an error, the supervisor unmounts and ends with 1', async () => {
    await using xfs = await clones()
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint, maySuffer: true, ...THROUGH_DAEMON })
    await using readers = await startReaders(mount.path)

    process.kill((await mount.status()).pid, 'SIGKILL')
    expect(await mount.ended).toBe(1)
    expect(mount.stderr).toBe(
      `samepage: the serving process died; ${mount.path} has been unmounted, the source is as it was\n`,
    )
    await readers.allEnd()
    expect(mountsAt(mount.path)).toEqual([])
    expect(controlSockets(mount.path)).toEqual([])
    await expectNoProcess(xfs.directory)
  })

  test('the supervisor: readers get an error, and samepage umount clears what is left', async () => {
    await using xfs = await clones()
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint, maySuffer: true, ...THROUGH_DAEMON })
    await using readers = await startReaders(mount.path)

    mount.process.kill('SIGKILL')
    await mount.ended
    await readers.allEnd()
    await expectNoProcess(xfs.directory)
    expect(() => fs.readdirSync(mount.path)).toThrow('ENOTCONN')
    const hasDied = `${mount.path} is a mount whose daemon has died: "samepage umount ${mount.path}" clears it`
    const grants = `${runtimeDirectory()}/${readMountInfo().find(({ mountpoint }) => mountpoint === mount.path)!.device}.grants`
    expect(fs.existsSync(grants)).toBe(true)
    for (const command of [
      ['status', mount.path],
      ['doctor', mount.path],
    ])
      expectRefusal(samepage(command), hasDied)
    expect(samepage(['status'])).toMatchObject({ status: 1, stderr: expect.stringContaining(hasDied) })
    expectRefusal(samepage(['mount', xfs.path, mount.path]), `"samepage umount ${mount.path}" clears it`)
    // What lies below it, too, and what leads there: the mount itself is named, which is what has to be cleared.
    const elsewhere = `${xfs.directory}/elsewhere`
    fs.mkdirSync(elsewhere)
    fs.symlinkSync(mount.path, `${xfs.directory}/link`)
    for (const command of [
      ['mount', mount.path, elsewhere],
      ['mount', `${mount.path}/inner`, elsewhere],
      ['mount', xfs.path, `${mount.path}/inner`],
      ['doctor', `${mount.path}/inner/original`],
    ])
      expectRefusal(samepage(command), hasDied)
    expectRefusal(samepage(['doctor', `${xfs.directory}/link/inner`]), `${xfs.directory}/link is a mount whose daemon`)

    expect(samepage(['umount', mount.path])).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(mountsAt(mount.path)).toEqual([])
    expect(controlSockets(mount.path)).toEqual([])
    expect(fs.existsSync(grants)).toBe(false)
    expect(samepage(['mount', '-dq', xfs.path, mount.path]).status).toBe(0)
    expect(samepage(['umount', mount.path]).status).toBe(0)
  })

  test('the supervisor, and the mount is cleared without us: what was left goes with the next command, wherever that looks', async () => {
    await using xfs = await clones()
    const elsewhere = `${xfs.directory}/elsewhere`
    fs.mkdirSync(elsewhere)
    for (const next of [
      ['umount', '--if-mounted', xfs.mountpoint],
      ['umount', '--if-mounted', elsewhere],
      ['status'],
      ['mount', '-dq', xfs.path, elsewhere],
    ]) {
      await using mount = await mounted(xfs.path, { at: xfs.mountpoint, maySuffer: true })
      const { device } = readMountInfo().find(({ mountpoint }) => mountpoint === mount.path)!
      const grants = `${runtimeDirectory()}/${device}.grants`
      mount.process.kill('SIGKILL')
      await mount.ended
      await expectNoProcess(xfs.directory)
      execFileSync('umount', [mount.path])
      expect(controlSockets(mount.path)).toHaveLength(1)
      expect(fs.existsSync(grants)).toBe(true)
      expect(samepage(next).status).toBe(0)
      expect({ next, sockets: controlSockets(mount.path) }).toEqual({ next, sockets: [] })
      // A new mount may have its number, and then its name.
      if (next[0] !== 'mount') expect(fs.existsSync(grants)).toBe(false)
    }
    expect(samepage(['umount', elsewhere]).status).toBe(0)
  })

  test('stopped, it does not answer: status says of which mount, and shows the others', async () => {
    await using xfs = await clones()
    const second = `${xfs.directory}/second`
    fs.mkdirSync(second)
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint })
    await using other = await mounted(xfs.path, { at: second })
    const { pid } = await mount.status()
    process.kill(pid, 'SIGSTOP')
    try {
      const silent = `samepage: ${mount.path} did not answer within 5000 ms\n`
      expect(samepage(['status', mount.path])).toEqual({ status: 1, stdout: '', stderr: silent })
      const all = samepage(['status', '--json'])
      expect(all).toMatchObject({ status: 1, stderr: expect.stringContaining(silent) })
      expect(JSON.parse(all.stdout)).toEqual(
        expect.arrayContaining([expect.objectContaining({ mountpoint: other.path })]),
      )
    } finally {
      process.kill(pid, 'SIGCONT')
    }
  })

  test('in place: the source comes back', async () => {
    await using xfs = await clones()
    await using mount = await mounted(xfs.path, { at: xfs.path, maySuffer: true })
    process.kill((await mount.status()).pid, 'SIGKILL')
    expect(await mount.ended).toBe(1)
    expect(mountsAt(xfs.path)).toEqual(['xfs'])
    expect(fs.readFileSync(`${xfs.path}/original`).length).toBe(4 * MEBIBYTE)
  })
})

function inMountNamespace(preparation: string): string[] {
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', `${preparation} && exec "$@"`, 'sh']
}

interface Readers extends AsyncDisposable {
  /** Waits until all have ended by themselves, with an error. */
  allEnd(): Promise<void>
}

/** An open file that is passed through is read on without the daemon: the first file of a family is, whatever it shares. */
const THROUGH_DAEMON = { flags: { passthrough: false } } as const

const READ_FOR_EVER = `
  const fs = require("node:fs")
  const fd = fs.openSync(process.argv[1], "r")
  for (const bytes = Buffer.alloc(4096); ; ) fs.readSync(fd, bytes, 0, 4096, 1048576)`

/** Programs that read through the mount without a pause until they get an error: new opens, an open file, names. */
async function startReaders(mountpoint: string): Promise<Readers> {
  const commands = [
    `while cat '${mountpoint}/diverged' > /dev/null; do :; done`,
    // One open file, always the same place: at the end of the file nobody would ask the daemon.
    `exec '${process.execPath}' -e '${READ_FOR_EVER}' '${mountpoint}/diverged'`,
    // A file: the empty directory below can be listed when the mount is gone.
    `while ls -l '${mountpoint}/original' > /dev/null; do :; done`,
  ]
  const children = commands.map((command) => spawn('sh', ['-c', command], { stdio: 'ignore', detached: true }))
  const ended = children.map((child) => new Promise((resolve) => child.once('exit', resolve)))
  await new Promise((resolve) => setTimeout(resolve, 300))
  return {
    async allEnd() {
      await eventually(() => expect(children.filter(isRunning).map(stateOf)).toEqual([]))
      await Promise.all(ended)
    },
    async [Symbol.asyncDispose]() {
      for (const child of children.filter(isRunning)) process.kill(-child.pid!, 'SIGKILL')
    },
  }
}

const isRunning = (child: ChildProcess) => child.exitCode === null && child.signalCode === null

/** D where it could not even be killed. */
function stateOf({ pid }: ChildProcess): string {
  return /^State:\s*(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? ''
}
