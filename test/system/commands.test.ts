/** The commands as users use them: mount, umount, status; their output, their exit status, and what they leave behind. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { StatusReport } from '../../src/daemon/status.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, overwrite, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { freePort } from '../support/ports.ts'
import { parsePrometheus } from '../support/prometheus.ts'
import { describeWith } from '../support/requires.ts'
import { controlSockets, expectNoProcess, mountsAt, samepage } from '../support/samepage.ts'
import { settle } from '../support/settled.ts'

const CONTENT = noise(8 * MEBIBYTE, 1)

/** XFS with a file, a pristine clone and one with a page of its own; and an empty directory beside it. */
async function clones(): Promise<LoopFilesystem & { readonly mountpoint: string }> {
  const xfs = await loopFilesystem('xfs')
  const mountpoint = `${xfs.directory}/mnt`
  fs.mkdirSync(mountpoint)
  writeSynced(`${xfs.path}/original`, CONTENT)
  for (const name of ['pristine', 'diverged']) clone(`${xfs.path}/original`, `${xfs.path}/${name}`)
  overwrite(`${xfs.path}/diverged`, 4 * MEBIBYTE, Buffer.alloc(4096, 'own page'))
  return Object.assign(xfs, { mountpoint })
}

async function expectNothingLeft(xfs: LoopFilesystem & { mountpoint: string }): Promise<void> {
  expect(mountsAt(xfs.mountpoint)).toEqual([])
  expect(fs.readdirSync(xfs.mountpoint)).toEqual([])
  await expectNoProcess(xfs.directory)
  expect(controlSockets(xfs.mountpoint)).toEqual([])
  expect(fs.readdirSync(xfs.path).sort()).toEqual(['diverged', 'original', 'pristine'])
}

describeWith(['root', 'loop', 'xfs', 'fuse'], 'samepage mount', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'in the foreground says that it is ready, and unmounts at %s',
    async (signal) => {
      await using xfs = await clones()
      await using mount = await mounted(xfs.path, { at: xfs.mountpoint })
      expect(mount.stdout).toMatch(
        new RegExp(`^samepage: ${xfs.path} is mounted at ${xfs.mountpoint} \\(xfs\\): files that share .*\\n$`),
      )
      for (const name of ['original', 'pristine'])
        expect(fs.readFileSync(`${xfs.mountpoint}/${name}`).equals(CONTENT), name).toBe(true)
      expect(controlSockets(xfs.mountpoint).length).toBe(1)

      // As a terminal does it: every process of the group gets the signal.
      process.kill(-mount.process.pid!, signal)
      expect(await mount.ended).toBe(0)
      await expectNothingLeft(xfs)
      expect(mount.stderr).toBe('')
    },
  )

  test('--quiet says nothing', async () => {
    await using xfs = await clones()
    const child = spawn(process.execPath, [PROGRAM, 'mount', '-q', xfs.path, xfs.mountpoint])
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => {
        output += text
      })
    const ended = new Promise((resolve) => child.once('close', resolve))
    await eventually(() => expect(samepage(['status', xfs.mountpoint]).status).toBe(0))
    expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
    expect(await ended).toBe(0)
    expect(output).toBe('')
  })

  test('--daemon returns when the mount is ready, and keeps nothing of its caller', async () => {
    await using xfs = await clones()
    // The output is read up to its end: it would not come if the daemon kept it open.
    const { status, stdout, stderr } = samepage(['mount', '--daemon', xfs.path, xfs.mountpoint], { cwd: xfs.directory })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toContain(`${xfs.path} is mounted at ${xfs.mountpoint}`)
    expect(fs.readFileSync(`${xfs.mountpoint}/pristine`).equals(CONTENT)).toBe(true)

    const [report] = JSON.parse(samepage(['status', '--json', xfs.mountpoint]).stdout) as [StatusReport]
    const supervisor = Number(/^PPid:\s*(\d+)$/m.exec(fs.readFileSync(`/proc/${report.pid}/status`, 'utf8'))?.[1])
    for (const pid of [supervisor, report.pid]) expect(fs.readlinkSync(`/proc/${pid}/cwd`)).toBe('/')
    for (const fd of [0, 1, 2]) expect(fs.readlinkSync(`/proc/${supervisor}/fd/${fd}`)).toBe('/dev/null')

    expect(samepage(['umount', xfs.mountpoint])).toEqual({ status: 0, stdout: '', stderr: '' })
    await expectNothingLeft(xfs)
  })

  test('a mount lives on where nobody hears what it says', async () => {
    await using xfs = await clones()
    for (const flags of ['', '--daemon']) {
      const command = `"$0" "$1" mount ${flags} "$2" "$3" 2>&1 | true`
      const shell = spawn('sh', ['-c', command, process.execPath, PROGRAM, xfs.path, xfs.mountpoint], {
        stdio: 'ignore',
      })
      await eventually(() => expect(mountsAt(xfs.mountpoint)).toEqual(['fuse.samepage']))
      await sleep(500)
      expect(fs.readdirSync(xfs.mountpoint)).toEqual(fs.readdirSync(xfs.path))
      expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
      if (shell.exitCode === null) await once(shell, 'exit')
    }
  })

  test('-dq starts one daemon, in silence', async () => {
    await using xfs = await clones()
    expect(samepage(['mount', '-dq', xfs.path, xfs.mountpoint])).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(mountsAt(xfs.mountpoint)).toEqual(['fuse.samepage'])
    expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
  })

  test('--daemon that is interrupted before it is ready leaves nothing mounted', async () => {
    await using xfs = await clones()
    for (const afterMs of [50, 150, 250, 350, 450]) {
      const child = spawn(process.execPath, [PROGRAM, 'mount', '-dq', xfs.path, xfs.mountpoint])
      const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
      await new Promise((resolve) => setTimeout(resolve, afterMs))
      child.kill('SIGINT')
      // It was ready already, or it ends without a mount.
      if ((await ended) === 0) expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
      else await eventually(() => expect(mountsAt(xfs.mountpoint)).toEqual([]))
      await expectNoProcess(xfs.directory)
    }
    await expectNothingLeft(xfs)
  })

  test('in place shows the files where they were, and the source again afterwards', async () => {
    await using xfs = await clones()
    // The source is a mountpoint itself: unmounting once too often would take it away.
    await using mount = await mounted(xfs.path, { at: xfs.path })
    expect(mountsAt(xfs.path)).toEqual(['xfs', 'fuse.samepage'])
    expect(fs.readFileSync(`${xfs.path}/pristine`).equals(CONTENT)).toBe(true)
    fs.writeFileSync(`${xfs.path}/new`, 'through the mount')

    for (const signal of ['SIGINT', 'SIGTERM', 'SIGINT'] as const) mount.process.kill(signal)
    expect(await mount.ended).toBe(0)
    expect(mountsAt(xfs.path)).toEqual(['xfs'])
    expect(fs.readFileSync(`${xfs.path}/new`, 'latin1')).toBe('through the mount')
  })

  test('may be repeated at the same place at once', async () => {
    await using xfs = await clones()
    for (let i = 0; i < 3; i++) {
      expect(samepage(['mount', '-dq', xfs.path, xfs.mountpoint]).status).toBe(0)
      expect(samepage(['status', xfs.mountpoint]).status).toBe(0)
      expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
    }
    await expectNothingLeft(xfs)
  })

  test('says which directory for control sockets it cannot make, and why, and leaves nothing mounted', async () => {
    await using xfs = await clones()
    const readOnlyRun = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o ro none /run && exec "$@"', 'sh']
    const { status, stderr } = samepage(['mount', xfs.path, xfs.mountpoint], { wrapper: readOnlyRun })
    expect(stderr).toBe(
      'samepage: /run/samepage, where control sockets lie, cannot be made (read-only file system): /run must be a directory that can be written to\n',
    )
    expect(status).toBe(1)
    await expectNothingLeft(xfs)
  })

  test('works from a directory whose name has spaces and letters beyond ASCII', async () => {
    await using xfs = await clones()
    const name = `${xfs.directory}/Ordner für alles, 100%`
    fs.mkdirSync(name)
    expect(samepage(['mount', '-dq', xfs.path, name]).status).toBe(0)
    expect(fs.readFileSync(`${name}/pristine`).equals(CONTENT)).toBe(true)
    expect(samepage(['umount', name])).toEqual({ status: 0, stdout: '', stderr: '' })
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse'], 'samepage umount', () => {
  test('waits for the daemon, so that the file system below can be unmounted next', async () => {
    await using xfs = await clones()
    expect(samepage(['mount', '-dq', xfs.path, xfs.mountpoint]).status).toBe(0)
    for (const name of ['original', 'pristine', 'diverged']) fs.readFileSync(`${xfs.mountpoint}/${name}`)
    expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
    execFileSync('umount', [xfs.path])
  })

  test('refuses a mount that is in use, and detaches it with --lazy: open files are served until they are closed', async () => {
    await using xfs = await clones()
    expect(samepage(['mount', '-dq', xfs.path, xfs.mountpoint]).status).toBe(0)
    const fd = fs.openSync(`${xfs.mountpoint}/diverged`, 'r')
    try {
      const { status, stderr } = samepage(['umount', xfs.mountpoint])
      expect(status).toBe(1)
      expect(stderr).toMatch(/is in use .*--lazy\n$/)

      expect(samepage(['umount', '--lazy', xfs.mountpoint])).toEqual({ status: 0, stdout: '', stderr: '' })
      expect(mountsAt(xfs.mountpoint)).toEqual([])
      const bytes = Buffer.alloc(4096)
      expect(fs.readSync(fd, bytes, 0, 4096, 4 * MEBIBYTE)).toBe(4096)
      expect(bytes.toString('latin1', 0, 8)).toBe('own page')

      // The place is free, and status knows which of the two is there.
      expect(samepage(['mount', '-dq', '--workers', '3', xfs.path, xfs.mountpoint]).status).toBe(0)
      expect(JSON.parse(samepage(['status', '--json', xfs.mountpoint]).stdout)).toMatchObject([
        { workers: { count: 3 } },
      ])
    } finally {
      fs.closeSync(fd)
    }
    // The end of the detached one takes nothing from the new one.
    await eventually(() => expect(controlSockets(xfs.mountpoint).length).toBe(1))
    expect(samepage(['status', xfs.mountpoint]).status).toBe(0)
    expect(samepage(['umount', xfs.mountpoint]).status).toBe(0)
    await expectNothingLeft(xfs)
  })

  test('does not take whoever only looks at the mount for a user', async () => {
    await using xfs = await clones()
    expect(samepage(['mount', '-dq', xfs.path, xfs.mountpoint]).status).toBe(0)
    // As df and monitoring agents do, only more often.
    const watcher = spawn('sh', ['-c', `while stat -f '${xfs.mountpoint}' > /dev/null; do :; done`])
    try {
      expect(samepage(['umount', xfs.mountpoint])).toEqual({ status: 0, stdout: '', stderr: '' })
    } finally {
      watcher.kill('SIGKILL')
    }
  })

  test('ends nothing but Samepage mounts', async () => {
    await using xfs = await clones()
    const { status, stderr } = samepage(['umount', xfs.path])
    expect(status).toBe(1)
    expect(stderr).toContain(`${xfs.path} is no Samepage mount`)
    expect(samepage(['umount', '--if-mounted', xfs.path])).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(mountsAt(xfs.path)).toEqual(['xfs'])
  })

  test('finds the mount by a symlink and by a relative path', async () => {
    await using xfs = await clones()
    fs.symlinkSync('mnt', `${xfs.directory}/link`)
    for (const name of ['link', './mnt/', `${xfs.directory}/link`]) {
      expect(samepage(['mount', '-dq', 'fs', name], { cwd: xfs.directory }).status).toBe(0)
      expect(samepage(['status', name], { cwd: xfs.directory }).stdout).toContain(`${xfs.mountpoint}\n`)
      expect(samepage(['umount', name], { cwd: xfs.directory })).toEqual({ status: 0, stdout: '', stderr: '' })
    }
    expect(mountsAt(xfs.mountpoint)).toEqual([])
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse'], 'samepage status', () => {
  test('tells of one mount what it has done', async () => {
    await using xfs = await clones()
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint })
    for (const name of ['original', 'pristine', 'diverged']) fs.readFileSync(`${mount.path}/${name}`)

    const text = samepage(['status', mount.path]).stdout
    for (const line of ['source', 'sharing', 'memory saved', 'homes', 'pinned on disk', 'files', 'the daemon itself'])
      expect(text).toMatch(new RegExp(`^  ${line} {2}`, 'm'))
    const report = await mount.status()
    expect(report).toMatchObject({
      schema: 1,
      source: xfs.path,
      mountpoint: mount.path,
      sharing: { possible: true, fileSystem: 'xfs', reason: '' },
      homes: { homes: 1, families: 1, members: 3, cachedBytes: 8 * MEBIBYTE },
      workers: { restarts: 0, failures: 0 },
    })
    // Three files of 8 MiB, of which one page is nobody else's.
    expect(report.homes.nativeBytes).toBe(24 * MEBIBYTE - 4096)
    expect(report.requests.find(({ name }) => name === 'OPEN')).toMatchObject({ count: 3, errors: 0 })
    expect(report.uptimeSeconds).toBeGreaterThan(0)
  })

  test('tells of a mount whose daemon has died, also without programs of the system', async () => {
    await using xfs = await clones()
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint, maySuffer: true })
    mount.process.kill('SIGKILL')
    await mount.ended
    await expectNoProcess(xfs.directory)
    for (const args of [[], [xfs.mountpoint]]) {
      const { status, stderr } = samepage(['status', ...args], { env: { PATH: '/nonexistent' } })
      expect(stderr).toContain(`${xfs.mountpoint} is a mount whose daemon has died`)
      expect(status).toBe(1)
    }
  })

  test('counts all files that lie in a home for the memory saved, and deleted ones no more', async () => {
    await using xfs = await loopFilesystem('xfs')
    const names = Array.from({ length: 100 }, (_, i) => `clone${i}`)
    writeSynced(`${xfs.path}/original`, CONTENT)
    for (const name of names) clone(`${xfs.path}/original`, `${xfs.path}/${name}`)
    await settle()
    await using mount = await mounted(xfs.path)
    for (const name of ['original', ...names]) fs.readFileSync(`${mount.path}/${name}`)
    expect((await mount.status()).homes).toMatchObject({
      cachedBytes: CONTENT.length,
      nativeBytes: 101 * CONTENT.length,
    })
    for (const name of names.slice(10)) fs.rmSync(`${mount.path}/${name}`)
    await eventually(async () => expect((await mount.status()).homes.nativeBytes).toBe(11 * CONTENT.length))
  })

  test('tells of all mounts, and that there is none', async () => {
    await using xfs = await clones()
    const second = `${xfs.directory}/second`
    fs.mkdirSync(second)
    const of = (reports: StatusReport[]) => reports.map(({ mountpoint }) => mountpoint)
    {
      await using one = await mounted(xfs.path, { at: xfs.mountpoint })
      await using other = await mounted(xfs.path, { at: second })
      const mountpoints = of(JSON.parse(samepage(['status', '--json']).stdout) as StatusReport[])
      expect(mountpoints).toEqual(expect.arrayContaining([one.path, other.path]))
      const text = samepage(['status']).stdout
      for (const { path } of [one, other]) expect(text).toContain(`${path}\n`)
    }
    // Other mounts of this machine are none of this test's.
    const env = { XDG_RUNTIME_DIR: `${xfs.directory}` }
    const nobody = { uid: 65534, gid: 65534, env }
    expect(samepage(['status'], nobody)).toMatchObject({ status: 0, stdout: 'No Samepage mount of this user.\n' })
    expect(samepage(['status', '--json'], nobody)).toMatchObject({ status: 0, stdout: '[]\n' })
    expect(samepage(['status', second])).toMatchObject({ status: 1, stdout: '' })
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse'], 'samepage mount --metrics', () => {
  test('serves what Prometheus reads', async () => {
    await using xfs = await clones()
    const port = await freePort()
    await using mount = await mounted(xfs.path, { at: xfs.mountpoint, flags: { metrics: `127.0.0.1:${port}` } })
    for (const name of ['original', 'pristine', 'diverged']) fs.readFileSync(`${mount.path}/${name}`)

    const answer = await get(port, '/metrics')
    expect(answer.status).toBe(200)
    expect(answer.type).toMatch(/^text\/plain; version=0\.0\.4/)
    const families = parsePrometheus(answer.body)
    const value = (name: string, labels = '') => families.get(`samepage_${name}`)?.samples.get(labels)
    expect(value('homes')).toBe(1)
    expect(value('families')).toBe(1)
    expect(value('home_cached_bytes')).toBe(8 * MEBIBYTE)
    expect(value('native_cached_bytes')).toBe(24 * MEBIBYTE - 4096)
    expect(value('requests_total', '{operation="open"}')).toBe(3)
    expect(families.get('samepage_requests_total')?.type).toBe('counter')
    expect(value('worker_restarts_total')).toBe(0)
    for (const [name, { help, type }] of families) {
      expect(name).toMatch(/^samepage_/)
      expect(help).not.toBe('')
      expect(name.endsWith('_total')).toBe(type === 'counter')
    }

    const later = parsePrometheus((await get(port, '/metrics')).body)
    expect(later.get('samepage_requests_total')?.samples.get('{operation="open"}')).toBe(3)
    expect((await get(port, '/')).status).toBe(404)
    // Scrapers can be told to send parameters; checks of health ask for the head alone.
    expect((await get(port, '/metrics?name=value')).body).toContain('samepage_requests_total')
    expect(await get(port, '/metrics', 'HEAD')).toMatchObject({ status: 200, type: answer.type, body: '' })
    expect((await get(port, '/metrics', 'POST')).status).toBe(405)
  })
})

function get(port: number, path: string, method = 'GET'): Promise<{ status: number; type: string; body: string }> {
  return new Promise((resolve, reject) => {
    http
      .request({ host: '127.0.0.1', port, path, method }, (response) => {
        let body = ''
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text
        })
        const { statusCode: status = 0, headers } = response
        response.on('end', () => resolve({ status, type: headers['content-type'] ?? '', body }))
      })
      .on('error', reject)
      .end()
  })
}
