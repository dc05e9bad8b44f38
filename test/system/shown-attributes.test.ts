/** What a file's attributes show at once, however long the kernel may believe them: what is written by who can only write, and stores through a mapping that is passed through, whose file has been closed. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { MEBIBYTE, noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const MAP = `
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
f = os.open(path, os.O_RDWR)
address = libc.mmap(None, 8192, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, f, 0)
os.close(f)
`

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a mapping of a closed file', () => {
  test('its stores show in the times; once it is gone they are believed again', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const below = `${filesystem.path}/file`
    writeSynced(below, noise(MEBIBYTE, 1))
    fs.utimesSync(below, 1, 1)
    await using mount = await mounted(filesystem.path, { flags: { timeout: 600 } })
    const path = `${mount.path}/file`
    const times = (file: string) => {
      const { mtimeNs, ctimeNs } = fs.statSync(file, { bigint: true })
      return `${mtimeNs} ${ctimeNs}`
    }
    await using client = startClient()
    await client.run(MAP, { path })
    const before = times(path)
    expect(before).toBe(times(below))
    // Closing is told to the daemon after close(2) has returned.
    await eventually(async () => expect((await mount.status()).files.open).toBe(0))
    expect(times(path)).toBe(before)

    await client.run('ctypes.memset(address, 1, 1)')
    expect(times(below)).not.toBe(before)
    expect(times(path)).toBe(times(below))

    await client.run('libc.munmap(address, 8192)')
    times(path)
    times(path)
    fs.chmodSync(below, 0o600)
    expect(fs.statSync(path).mode & 0o777, 'what is believed').not.toBe(0o600)
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a file that is open for writing only', () => {
  for (const passthrough of [true, false])
    test(`shows its size and its times after each write (passthrough: ${passthrough})`, async () => {
      await using filesystem = await loopFilesystem('xfs')
      await using mount = await mounted(filesystem.path, {
        flags: { timeout: 600, ...(passthrough ? {} : { passthrough }) },
      })
      await using writer = startClient()
      await using reader = startClient()
      const seen = (file: string) =>
        reader.value('(lambda s: [s.st_size, s.st_mtime_ns, s.st_ctime_ns])(os.stat(file))', { file })
      for (const name of ['made', 'opened']) {
        if (name === 'opened') fs.writeFileSync(`${filesystem.path}/${name}`, 'content')
        const path = `${mount.path}/${name}`
        await writer.run('f = os.open(path, os.O_WRONLY | os.O_CREAT)', { path })
        for (const write of [
          'os.pwrite(f, b"x", 0)',
          'os.pwrite(f, b"x" * 5000, 5000)',
          'os.ftruncate(f, 3)',
          'os.writev(f, [b"y"])',
        ]) {
          await seen(path)
          await writer.run(write)
          expect(await seen(path), write).toEqual(await seen(`${filesystem.path}/${name}`))
        }
        await writer.run('os.close(f)')
      }
    })
})
