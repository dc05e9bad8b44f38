/** The demonstration as users run it: what it finds, and that it leaves nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { StatusReport } from '../../src/daemon/status.ts'
import type { DemoReport } from '../../src/demo/demo.ts'
import { readMountInfo } from '../../src/linux/mountinfo.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { PROGRAM } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const MEBIBYTE = 2 ** 20
const NOBODY = 65534

interface Run {
  readonly child: ChildProcess
  /** Everything written to stderr so far. */
  said(): string
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; stdout: string }>
}

function demo(args: string[], environment: { scratch: string; uid?: number; PATH?: string }): Run {
  const { scratch, uid, PATH = process.env.PATH } = environment
  const child = spawn(process.execPath, [PROGRAM, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: scratch,
    env: { ...process.env, PATH, TMPDIR: scratch, HOME: scratch },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  let said = ''
  let stdout = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  const ended = new Promise<Awaited<Run['ended']>>((resolve) => {
    child.once('close', (status, signal) => resolve({ status, signal, stdout }))
  })
  return { child, said: () => said, ended }
}

/** Mounts, loop devices, processes and files that have to do with `directory`. */
async function leftIn(directory: string): Promise<string[]> {
  const processes = () =>
    fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((pid) => textOf(`/proc/${pid}/cmdline`).includes(`${directory}/samepage-demo-`))
  // Processes that were killed take a moment to go.
  for (let i = 0; i < 50 && processes().length > 0; i++) await sleep(20)
  const loops = fs
    .readdirSync('/sys/block')
    .map((name) => textOf(`/sys/block/${name}/loop/backing_file`).trim())
    .filter((file) => file.startsWith(`${directory}/samepage-demo-`))
  const mounts = readMountInfo()
    .map(({ mountpoint }) => mountpoint)
    .filter((mountpoint) => mountpoint.startsWith(`${directory}/samepage-demo-`))
  const files = fs.readdirSync(directory).filter((name) => name.includes('samepage-demo'))
  return [...files, ...mounts, ...loops, ...processes().map((pid) => `process ${pid}`)]
}

function textOf(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

describeWith(['root', 'loop', 'xfs', 'fuse'], 'the demonstration', () => {
  test('on a file system of its own: clones cost their own pages, and every byte is right', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
    const { ended } = demo(['--json', '--size', '64MiB', '--clones', '8'], { scratch: scratch.path })
    const { status, stdout } = await ended
    expect(status).toBe(0)
    const { set, native, samepage, wrongFiles, ...report } = JSON.parse(stdout) as DemoReport
    expect(set).toMatchObject({ files: 9, size: 64 * MEBIBYTE, totalBytes: 9 * 64 * MEBIBYTE })
    expect(report.ground.clones).toBe(true)
    expect(wrongFiles).toEqual([])
    expect(native.files.filter(({ kind }) => kind === 'diverged')).toHaveLength(4)
    // The device is the demonstration's own, so these are exact but for the file system's own blocks.
    expect(native.deviceBytes).toBeGreaterThan(set.totalBytes)
    expect(native.deviceBytes).toBeLessThan(1.1 * set.totalBytes)
    expect(samepage.deviceBytes).toBeGreaterThan(0.99 * set.uniqueBytes)
    expect(samepage.deviceBytes).toBeLessThan(1.1 * set.uniqueBytes)
    // What is held of the whole machine is not for a test; this is.
    expect(native.fileBytes).toBe(set.totalBytes)
    const { homes } = report.whileMounted as StatusReport
    expect(samepage.fileBytes + homes.cachedBytes).toBe(set.uniqueBytes)
    expect(samepage.held.daemon).toBeGreaterThan(20 * MEBIBYTE)
    expect(await leftIn(scratch.path)).toEqual([])
  })

  test.each(['making the files', 'natively, cold', 'natively, hot', 'through Samepage, cold', 'through Samepage, hot'])(
    'leaves nothing behind when it is interrupted after: %s',
    async (step) => {
      await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
      const run = demo(['--size', '32MiB', '--clones', '4'], { scratch: scratch.path })
      while (!run.said().includes(step) && run.child.exitCode === null) await sleep(5)
      run.child.kill('SIGINT')
      const { signal, stdout } = await run.ended
      expect(signal).toBe('SIGINT')
      expect(stdout).toBe('')
      expect(run.said()).toContain('interrupted')
      expect(await leftIn(scratch.path)).toEqual([])
    },
  )

  /** Before this program of the system does its work, for the `time`th time, `command` is run: `$PPID` is the demonstration. Returns the directory for the PATH. */
  function wrapped(program: string, time: number, command: string, scratch: string): string {
    const directory = `${scratch}/wrapped`
    fs.mkdirSync(directory)
    const script = `#!/bin/sh
echo >> ${directory}/times
[ $(wc -l < ${directory}/times) -ne ${time} ] || ${command}
PATH=/usr/sbin:/sbin:/usr/bin:/bin exec ${program} "$@"
`
    fs.writeFileSync(`${directory}/${program}`, script, { mode: 0o755 })
    return directory
  }

  // losetup: for the new file system, then to detach (which comes late), and so again whenever it is made cold.
  test.each([
    ['makes the file system', 'mkfs.xfs', 1],
    ['attaches it', 'losetup', 1],
    ['makes the files cold', 'losetup', 3],
  ] as const)('leaves nothing behind when it is interrupted while it %s', async (_, program, time) => {
    await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
    const PATH = `${wrapped(program, time, 'kill -INT $PPID', scratch.path)}:${process.env.PATH}`
    const run = demo(['--size', '8MiB', '--clones', '2'], { scratch: scratch.path, PATH })
    const { signal, stdout } = await run.ended
    expect(signal).toBe('SIGINT')
    expect(stdout).toBe('')
    expect(await leftIn(scratch.path)).toEqual([])
  })

  test('leaves nothing behind when it is interrupted while it tries whether it can mount', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
    const run = demo(['--size', '32MiB', '--clones', '4'], { scratch: scratch.path })
    const isTried = () =>
      readMountInfo().some(
        ({ mountpoint }) => mountpoint.startsWith(`${scratch.path}/samepage-demo-`) && mountpoint.endsWith('/mnt'),
      )
    while (!isTried() && run.child.exitCode === null) await sleep(5)
    run.child.kill('SIGINT')
    expect(await run.ended).toMatchObject({ signal: 'SIGINT', stdout: '' })
    expect(run.said()).not.toContain('making the files')
    expect(await leftIn(scratch.path)).toEqual([])
  })

  test('goes on where a signal meets a program that it runs before that has a session of its own', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
    const PATH = `${wrapped('losetup', 1, 'kill -HUP $$', scratch.path)}:${process.env.PATH}`
    const run = demo(['--json', '--size', '8MiB', '--clones', '2'], { scratch: scratch.path, PATH })
    const { status, stdout } = await run.ended
    expect(status).toBe(0)
    expect((JSON.parse(stdout) as DemoReport).ground.description).toContain('an XFS of its own')
    expect(await leftIn(scratch.path)).toEqual([])
  })

  test('says so where no directory can be made', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    const run = demo(['--on', '/proc'], { scratch: scratch.path })
    expect((await run.ended).status).toBe(1)
    expect(run.said()).toBe('samepage: no directory can be made in /proc: no such file or directory\n')
  })

  test('removes what a killed one left behind', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
    const killed = demo(['--size', '32MiB', '--clones', '4'], { scratch: scratch.path })
    while (!killed.said().includes('through Samepage, cold') && killed.child.exitCode === null) await sleep(5)
    killed.child.kill('SIGKILL')
    await killed.ended
    expect(await leftIn(scratch.path)).not.toEqual([])
    const { status } = await demo(['--size', '8MiB', '--clones', '2'], { scratch: scratch.path }).ended
    expect(status).toBe(0)
    expect(await leftIn(scratch.path)).toEqual([])
  })

  test('--keep leaves the files, and says how to remove them', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 1024 * MEBIBYTE })
    const { ended } = demo(['--json', '--keep', '--size', '8MiB', '--clones', '2'], { scratch: scratch.path })
    const { kept } = JSON.parse((await ended).stdout) as DemoReport
    expect(fs.readdirSync(kept!.directory)).toEqual(['clone-1', 'clone-2', 'image'])
    const removal = spawn('sh', ['-c', kept!.removal])
    await new Promise((resolve) => removal.once('close', resolve))
    expect(await leftIn(scratch.path)).toEqual([])
  })

  test('by an ordinary user, with --on: shares through the daemon, and says what is missing', async () => {
    await using xfs = await loopFilesystem('xfs', { size: 1024 * MEBIBYTE })
    fs.chmodSync(xfs.path, 0o777)
    const args = ['--json', '--on', xfs.path, '--size', '32MiB', '--clones', '4']
    const { status, stdout } = await demo(args, { scratch: xfs.path, uid: NOBODY }).ended
    expect(status).toBe(0)
    const { set, samepage, wrongFiles, notes } = JSON.parse(stdout) as DemoReport
    expect(wrongFiles).toEqual([])
    expect(samepage.deviceBytes).toBeLessThan(1.2 * set.uniqueBytes)
    expect(notes.join('\n')).toContain('No passthrough')
    expect(await leftIn(xfs.path)).toEqual([])
  })

  test('without reflinks: full copies, nothing shared, every byte right', async () => {
    await using ext4 = await loopFilesystem('ext4', { size: 256 * MEBIBYTE })
    const args = ['--json', '--on', ext4.path, '--size', '8MiB', '--clones', '2']
    const { status, stdout } = await demo(args, { scratch: ext4.path }).ended
    expect(status).toBe(0)
    const { ground, wrongFiles, notes } = JSON.parse(stdout) as DemoReport
    expect(ground.clones).toBe(false)
    expect(wrongFiles).toEqual([])
    expect(notes.join('\n')).toMatch(/No reflinks.*\n.*No sharing/)
    expect(await leftIn(ext4.path)).toEqual([])
  })

  test('where it cannot be: says why, in a line', async () => {
    await using ext4 = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    for (const size of ['64MiB', '1TiB']) {
      const full = demo(['--on', ext4.path, '--size', size], { scratch: ext4.path })
      expect((await full.ended).status).toBe(1)
      expect(full.said()).toMatch(/^samepage: .*not enough room.*--size.*\n$/)
    }
    const nowhere = demo(['--on', `${ext4.path}/nowhere`], { scratch: ext4.path })
    expect((await nowhere.ended).status).toBe(1)
    expect(nowhere.said()).toContain('no directory')
    expect((await demo(['--size', '12'], { scratch: ext4.path }).ended).status).toBe(2)
  })
})
