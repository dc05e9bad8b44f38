/** The tests' own way to mount: what it promises about ends, good and bad. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, MountFailed, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const MEBIBYTE = 2 ** 20

async function smallFilesystem(): Promise<LoopFilesystem> {
  const ext4 = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
  fs.writeFileSync(`${ext4.path}/file`, 'bytes')
  return ext4
}

async function expectGone(mount: Mounted): Promise<void> {
  expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(mount.path)
  // A killed process takes a moment to end.
  await eventually(() => expect(() => process.kill(-mount.process.pid!, 0)).toThrow('ESRCH'))
}

describeWith(['root', 'loop', 'ext4', 'fuse'], 'a mount for tests', () => {
  test('is ready when it resolves, takes flags, and leaves nothing behind', async () => {
    await using ext4 = await smallFilesystem()
    let gone: Mounted
    {
      await using mount = await mounted(ext4.path, { flags: { passthrough: false, workers: 3, timeout: 0.5 } })
      gone = mount
      expect(fs.readFileSync(`${mount.path}/file`, 'utf8')).toBe('bytes')
      const status = await mount.status()
      expect(status).toMatchObject({ source: ext4.path, mountpoint: mount.path, passthrough: false })
      expect(status.workers.count).toBe(3)
      expect(mount.connection).toBe(Number(fs.statSync(mount.path).dev & 0xff))
    }
    await expectGone(gone)
    expect(fs.existsSync(gone.path)).toBe(false)
  })

  test('says why there is none', async () => {
    await using ext4 = await smallFilesystem()
    const failure = await mounted(`${ext4.path}/nothing`).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(MountFailed)
    expect((failure as MountFailed).status).toBe(1)
    expect((failure as MountFailed).stderr).toContain('does not exist')
  })

  test('that is in use at its end goes all the same, and says so', async () => {
    await using ext4 = await smallFilesystem()
    let gone: Mounted | undefined
    let descriptor = -1
    const leak = async () => {
      await using mount = await mounted(ext4.path)
      gone = mount
      descriptor = fs.openSync(`${mount.path}/file`, 'r')
    }
    await expect(leak()).rejects.toThrow('is in use')
    // close(2) asks a mount that can be written, and nobody answers any more. The descriptor is closed all the same.
    expect(() => fs.closeSync(descriptor)).toThrow(/ECONNABORTED|ENOTCONN/)
    await expectGone(gone!)
  })

  test('whose serving process died is cleared away, and says so', async () => {
    await using ext4 = await smallFilesystem()
    let gone: Mounted | undefined
    const kill = async () => {
      await using mount = await mounted(ext4.path)
      gone = mount
      process.kill((await mount.status()).pid, 'SIGKILL')
      expect(await mount.ended).toBe(1)
    }
    await expect(kill()).rejects.toThrow('the serving process died')
    await expectGone(gone!)
  })
})
