/** A mount that is not where, or not as, it was made: moved with a directory above it, covered by another mount, bound elsewhere, or served by a process that hangs. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isAlive } from '../../src/daemon/control-socket.ts'
import { findMount, mountFuse, unmountFuse } from '../../src/daemon/mounting.ts'
import type { StatusReport } from '../../src/daemon/status.ts'
import { close } from '../../src/linux/file.ts'
import { eventually } from '../support/eventually.ts'
import { MEBIBYTE } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { controlSockets, mountsAt, samepage } from '../support/samepage.ts'

let ext4: LoopFilesystem
/** Of the test that runs. */
let at: string
let moved: string
let tests = 0

beforeAll(async () => {
  ext4 = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
  fs.writeFileSync(`${ext4.path}/file`, 'content')
})
afterAll(() => ext4[Symbol.asyncDispose]())

/** A mount that the test ends itself, at a path that is new each time. */
function mount(): Promise<Mounted> {
  const directory = `${ext4.directory}/${++tests}`
  at = `${directory}/above/mnt`
  moved = `${directory}/renamed/mnt`
  fs.mkdirSync(at, { recursive: true })
  return mounted(ext4.path, { at, maySuffer: true })
}

const processIsThere = ({ process: { pid } }: Mounted) => isAlive(pid!)
const rename = () => fs.renameSync(path.dirname(at), path.dirname(moved))
const run = (command: string, ...args: string[]) => execFileSync(command, args)

describeWith(['root', 'loop', 'ext4', 'fuse'], 'a mount that moved with a directory above it', () => {
  test('is unmounted by SIGTERM', async () => {
    await using mnt = await mount()
    rename()
    mnt.process.kill('SIGTERM')
    expect(await mnt.ended).toBe(0)
    expect(mnt.stderr).toBe('')
    expect(mountsAt(moved)).toEqual([])
  })

  test('is unmounted where its serving process dies', async () => {
    await using mnt = await mount()
    const { pid } = await mnt.status()
    rename()
    process.kill(pid, 'SIGKILL')
    expect(await mnt.ended).toBe(1)
    expect(mnt.stderr).toContain(`${moved} has been unmounted`)
    expect(mountsAt(moved)).toEqual([])
  })

  test('answers status and umount by its path of now', async () => {
    await using mnt = await mount()
    rename()
    const { status, stdout } = samepage(['status', '--json', moved])
    expect(status).toBe(0)
    expect((JSON.parse(stdout) as StatusReport[]).map(({ mountpoint }) => mountpoint)).toEqual([moved])
    expect(samepage(['umount', moved])).toEqual({ status: 0, stdout: '', stderr: '' })
    // It has waited for the daemon.
    expect(controlSockets(at)).toEqual([])
    expect(await mnt.ended).toBe(0)
    expect(mountsAt(moved)).toEqual([])
  })

  test('does not answer status by the path that it had', async () => {
    await using mnt = await mount()
    rename()
    const { status, stdout, stderr } = samepage(['status', at])
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toContain(`no Samepage mount of this user answers at ${at}`)
    mnt.process.kill('SIGTERM')
    expect(await mnt.ended).toBe(0)
  })

  for (const swapped of [false, true])
    test(`is told from the one that was made in its place${swapped ? ', when both have the path of the other' : ''}`, async () => {
      await using first = await mount()
      const { pid } = await first.status()
      rename()
      fs.mkdirSync(at, { recursive: true })
      await using second = await mounted(ext4.path, { at, maySuffer: true })
      let [here, there] = [moved, at]
      if (swapped) {
        const spare = `${path.dirname(moved)}-spare`
        fs.renameSync(path.dirname(at), spare)
        fs.renameSync(path.dirname(moved), path.dirname(at))
        fs.renameSync(spare, path.dirname(moved))
        ;[here, there] = [at, moved]
      }
      const { stdout } = samepage(['status', '--json', here])
      expect(JSON.parse(stdout)).toMatchObject([{ mountpoint: here, pid }])
      expect(samepage(['umount', here])).toEqual({ status: 0, stdout: '', stderr: '' })
      // It has waited for the right one.
      expect(processIsThere(first)).toBe(false)
      expect(processIsThere(second)).toBe(true)
      expect(samepage(['umount', there])).toEqual({ status: 0, stdout: '', stderr: '' })
      expect(processIsThere(second)).toBe(false)
    })
})

describeWith(['root', 'loop', 'ext4', 'fuse'], 'what is mounted as soon as the mount is gone', () => {
  // The kernel gives it the id and the device that the mount had.
  const ROUNDS = 4

  test('is left alone by the supervisor', async () => {
    const other = `${ext4.directory}/other`
    fs.mkdirSync(other)
    for (let round = 0; round < ROUNDS; round++) {
      await using mnt = await mount()
      // One process: nothing is to come between.
      run('sh', '-c', 'umount "$1" && mount -t tmpfs other "$2"', 'sh', at, other)
      const status = await mnt.ended
      const left = mountsAt(other)
      if (left.length > 0) run('umount', other)
      expect(left).toEqual(['tmpfs'])
      expect({ status, stderr: mnt.stderr }).toEqual({ status: 0, stderr: '' })
    }
  })

  test('is another one also where it is a Samepage mount of the same source', async () => {
    const target = `${ext4.directory}/twice`
    fs.mkdirSync(target)
    const options = {
      source: ext4.path,
      target,
      allowOther: false,
      writable: true,
      nosuid: true,
      nodev: true,
      noexec: true,
    }
    const first = await mountFuse({ ...options, maxReadBytes: 4096 })
    unmountFuse(first.mount, false)
    close(first.fuseFd)
    const second = await mountFuse({ ...options, maxReadBytes: 4096 })
    try {
      expect(findMount(second.mount)?.mountpoint).toBe(target)
      const { id, device } = second.mount
      expect(() => unmountFuse({ ...first.mount, id, device }, true)).toThrow('EINVAL')
      // As before Linux 6.8, where nothing but the path tells them apart.
      const nameless = { ...second.mount, uniqueId: 0 }
      expect(() => unmountFuse({ ...nameless, mountpoint: `${target}/elsewhere` }, true)).toThrow('it moved')
      expect(findMount({ ...nameless, source: '/elsewhere' })).toBeUndefined()
      unmountFuse(nameless, true)
      expect(mountsAt(target)).toEqual([])
    } finally {
      close(second.fuseFd)
    }
  })
})

describeWith(['root', 'loop', 'ext4', 'fuse'], 'a mount that another one covers', () => {
  for (const how of ['SIGTERM', 'the death of its serving process'])
    for (const where of ['mountpoint', 'directory above it'])
      test(`at the ${where} stays after ${how}, and that is said`, async () => {
        await using mnt = await mount()
        const { pid } = await mnt.status()
        const over = where === 'mountpoint' ? at : path.dirname(at)
        run('mount', '-t', 'tmpfs', 'cover', over)
        try {
          if (how === 'SIGTERM') mnt.process.kill('SIGTERM')
          else process.kill(pid, 'SIGKILL')
          expect(await mnt.ended).toBe(1)
        } finally {
          run('umount', over)
        }
        expect(mnt.stderr).toContain(`${at} stays mounted`)
        expect(mnt.stderr).not.toContain('has been unmounted')
        expect(mountsAt(at)).toEqual(['fuse.samepage'])
        expect(samepage(['umount', at])).toEqual({ status: 0, stdout: '', stderr: '' })
        expect(mountsAt(at)).toEqual([])
      })

  test('is no unknown one to umount, which takes nothing away', async () => {
    await using mnt = await mount()
    run('mount', '-t', 'tmpfs', 'cover', at)
    try {
      for (const flags of [[], ['--lazy'], ['--if-mounted']]) {
        const { status, stderr } = samepage(['umount', ...flags, at])
        expect(status).toBe(1)
        expect(stderr).toContain(`something else is mounted over the Samepage mount at ${at}`)
      }
      expect(mountsAt(at)).toEqual(['fuse.samepage', 'tmpfs'])
    } finally {
      run('umount', at)
    }
    expect(await mnt.unmount()).toBe(0)
  })
})

describeWith(['root', 'loop', 'ext4', 'fuse'], 'a mount that is in use beyond its mountpoint', () => {
  test('by a bind mount: umount names it, and who goes on; SIGTERM then says that it gives errors', async () => {
    await using mnt = await mount()
    const bound = `${ext4.directory}/bound`
    fs.mkdirSync(bound)
    run('mount', '--bind', at, bound)
    try {
      const { status, stderr } = samepage(['umount', at])
      expect(status).toBe(1)
      expect(stderr).toContain(`process ${mnt.process.pid} goes on`)
      expect(stderr).toContain(`mounted at ${bound}, too`)
      expect(mountsAt(at)).toEqual([])
      expect(fs.readFileSync(`${bound}/file`, 'latin1')).toBe('content')

      mnt.process.kill('SIGTERM')
      await mnt.ended
      expect(mnt.stderr).toContain('still in use elsewhere')
      expect(mnt.stderr).toContain('gives errors from now on')
    } finally {
      run('umount', bound)
    }
  })

  test('by a bind mount: when that is unmounted, too, umount waits for the daemon', async () => {
    await using mnt = await mount()
    const bound = `${ext4.directory}/bound-again`
    fs.mkdirSync(bound)
    run('mount', '--bind', at, bound)
    expect(samepage(['umount', at]).status).toBe(1)
    expect(samepage(['umount', bound])).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(processIsThere(mnt)).toBe(false)
    expect(await mnt.ended).toBe(0)
  })

  test('by a daemon that hangs: umount says so, with its process, when it has waited', async () => {
    await using mnt = await mount()
    const { pid } = await mnt.status()
    process.kill(pid, 'SIGSTOP')
    try {
      const { status, stderr } = samepage(['umount', at])
      expect(status).toBe(1)
      expect(stderr).toContain(`process ${mnt.process.pid} goes on`)
      expect(stderr).toContain('does not end')
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await eventually(() => expect(mnt.process.exitCode).toBe(0))
  })
})
