import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'

const MEBIBYTE = 2 ** 20

for (const kind of ['xfs', 'btrfs', 'ext4'] as const) {
  describeWith(['root', 'loop', kind], `a loop file system: ${kind}`, () => {
    test('is mounted, used and leaves nothing behind', async () => {
      let directory: string
      {
        await using filesystem = await loopFilesystem(kind, { size: 400 * MEBIBYTE })
        directory = filesystem.directory
        const type = execFileSync('stat', ['-f', '-c', '%T', filesystem.path], { encoding: 'utf8' })
        expect(type).toContain(kind.slice(0, 3))
        fs.writeFileSync(`${filesystem.path}/file`, Buffer.alloc(MEBIBYTE, 7))

        // Cold: after a new mount the bytes can come only from the device.
        await filesystem.unmount()
        await filesystem.mount(['ro'])
        const before = filesystem.bytesRead()
        expect(fs.readFileSync(`${filesystem.path}/file`).equals(Buffer.alloc(MEBIBYTE, 7))).toBe(true)
        expect(filesystem.bytesRead() - before).toBeGreaterThanOrEqual(MEBIBYTE)
        expect(() => fs.writeFileSync(`${filesystem.path}/file`, '')).toThrow('EROFS')
      }
      expect(fs.existsSync(directory)).toBe(false)
      expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory)
      expect(execFileSync('/sbin/losetup', ['--list', '--noheadings'], { encoding: 'utf8' })).not.toContain(directory)
    })
  })
}

describeWith(['root', 'loop', 'ext4'], 'a loop file system in use', () => {
  test('goes with whatever was mounted beside it, and says that it was busy', async () => {
    let directory = ''
    let descriptor = -1
    const leak = async () => {
      await using filesystem = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
      directory = filesystem.directory
      fs.mkdirSync(`${directory}/other`)
      execFileSync('mount', ['--bind', filesystem.path, `${directory}/other`])
      descriptor = fs.openSync(`${filesystem.path}/file`, 'w')
    }
    try {
      await expect(leak()).rejects.toThrow('target is busy')
      expect(fs.existsSync(directory)).toBe(false)
      expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory)
    } finally {
      fs.closeSync(descriptor)
    }
  })
})
