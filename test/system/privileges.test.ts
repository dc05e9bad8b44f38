/** What an ordinary user may not do in the source he may not do through a mount of root's. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { MEBIBYTE, run } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const USER = 65_534
const CAP_SYS_RESOURCE = 24n

describeWith(['root', 'loop', 'ext4', 'fuse', 'program:python3'], 'through a mount of root’s', () => {
  test.each([
    ['with passthrough', {}],
    ['through the daemon', { passthrough: false as const }],
  ])('a user leaves root what is kept for root, and root has it: %s', async (_, flags) => {
    await using ext4 = await loopFilesystem('ext4', { size: 128 * MEBIBYTE, mkfs: ['-m', '10'] })
    fs.chmodSync(ext4.path, 0o777)
    const free = () => {
      run('sync', '--file-system', ext4.path)
      const { bfree, bavail, bsize } = fs.statfsSync(ext4.path)
      return { root: bfree * bsize, users: bavail * bsize }
    }
    const kept = free().root - free().users
    expect(kept).toBeGreaterThan(10 * MEBIBYTE)
    await using mount = await mounted(ext4.path, { flags })
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
    await user.run(fill, { path: `${mount.path}/users` })
    expect(free().root).toBeGreaterThan(kept * 0.98)
    await root.run(fill, { path: `${mount.path}/roots` })
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
