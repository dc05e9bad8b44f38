/** Another version is installed over the one that a mount was started from: the mount goes on, and no thread of it is started from files that are not its own. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { pythonProgram } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'
import { settle } from '../support/settled.ts'
import { ROOT } from '../support/sources.ts'

const DIST = path.resolve(path.dirname(PROGRAM), '..')
const REPLACED = 'the program’s files have been replaced'

/** The program as a package manager installs it: all its files are new ones. */
function install(filesystem: LoopFilesystem): string {
  const at = `${filesystem.directory}/installed`
  fs.rmSync(at, { recursive: true, force: true })
  fs.cpSync(DIST, `${at}/dist`, { recursive: true })
  fs.copyFileSync(`${ROOT}/package.json`, `${at}/package.json`)
  fs.symlinkSync(`${ROOT}/node_modules`, `${at}/node_modules`)
  return `${at}/dist/cli/main.js`
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'an upgrade below a mount', () => {
  test('refuses what needs a thread that has not started, and nothing else', async () => {
    await using filesystem = await loopFilesystem('xfs')
    fs.writeFileSync(`${filesystem.path}/file`, 'content')
    await settle()
    await using mount = await mounted(filesystem.path, {
      flags: { workers: 2 },
      program: install(filesystem),
      maySuffer: true,
    })
    install(filesystem)
    const file = `${mount.path}/file`
    expect(samepage(['exclusive', file, '--', 'cat']).status).toBeGreaterThan(0)
    await using holder = startClient()
    await holder.run('signal.signal(signal.SIGIO, signal.SIG_IGN); f = os.open(path, os.O_RDONLY)', {
      path: `${filesystem.path}/file`,
    })
    await holder.run('fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_RDLCK)')
    await using client = startClient()
    expect(await client.outcome('os.open(path, os.O_WRONLY)', { path: file })).toBe('EAGAIN')
    await holder.run('fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_UNLCK)')
    await client.run('os.write(os.open(path, os.O_WRONLY), b"changed")', { path: file })
    expect(fs.readFileSync(`${filesystem.path}/file`, 'utf8')).toBe('changed')
    for (const thread of ['the grants’ thread', 'the leases’ thread'])
      expect(mount.stderr).toContain(`${thread} is not started: ${REPLACED}`)
    await client[Symbol.asyncDispose]()
    expect(await mount.unmount()).toBe(0)
  })

  test('replaces no worker that dies: the others go on, and with the last the mount ends', async () => {
    await using filesystem = await loopFilesystem('xfs')
    fs.writeFileSync(`${filesystem.path}/file`, 'content')
    const trigger = `${filesystem.directory}/die`
    await using mount = await mounted(filesystem.path, {
      flags: { timeout: 0, workers: 2 },
      program: install(filesystem),
      env: { NODE_OPTIONS: `--require=${pythonProgram('kill-worker.cjs')}`, KILL_RECEIVING: trigger },
      maySuffer: true,
    })
    install(filesystem)
    await using client = startClient()
    const path = `${mount.path}/file`
    expect(await client.value('open(path).read()', { path })).toBe('content')
    await eventually(async () => expect((await mount.status()).files.open).toBe(0))
    fs.writeFileSync(trigger, '')
    expect(await client.outcome('os.stat(path)', { path })).toBe('EIO')
    expect(await client.value('open(path).read()', { path })).toBe('content')
    expect(mount.stderr).toMatch(new RegExp(`worker \\d is not started: ${REPLACED}`))
    await eventually(async () => expect((await mount.status()).files.open).toBe(0))
    fs.writeFileSync(trigger, '')
    expect(await client.outcome('os.stat(path)', { path })).toMatch(/^(EIO|ENOTCONN|ECONNABORTED)$/)
    expect(await mount.ended).toBe(1)
    expect(mount.stderr).toMatch(/worker \d died: the mount is given up/)
  })
})
