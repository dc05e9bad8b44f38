/** Sparse files of up to 8 EiB: at and above 2^53 not every offset is a number any more. And offsets that no file has. */
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** What a reader finds around each offset: bytes, where the data and the hole behind it are, and the size. */
const LOOK = `
def look(directory, offset):
    found = []
    f = os.open(f"{directory}/{offset}", os.O_RDONLY)
    for at in (offset - 5, offset, offset + 3):
        found.append(os.pread(f, 26, at).decode())
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            try: found.append(str(os.lseek(f, at, whence)))
            except OSError as error: found.append(errno.errorcode[error.errno])
    os.close(f)
    return found

def fill(directory, offset):
    f = os.open(f"{directory}/{offset}", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(f, bytes(range(65, 91)), offset)
    os.close(f)
`

/** What lseek(2) says of offsets that no file has. */
const SEEK_OUTSIDE = `
def seek_outside(f):
    found = []
    for at in (-1, -2, -600, -4096, -2**53 - 1, -2**63, 2**62):
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            try: found.append(str(os.lseek(f, at, whence)))
            except OSError as error: found.append(errno.errorcode[error.errno])
    return found
`

/** A sparse file of 1 PiB, the first 16 TiB of which are 256 MiB again and again. */
const REPEAT = `
import struct
with open(path, "w+b") as f:
    f.write(os.urandom(1 << 28))
    f.flush()
    filled = 1 << 28
    while filled < 1 << 44:
        fcntl.ioctl(f, 0x4020940d, struct.pack("qQQQ", f.fileno(), 0, filled, filled))
        filled *= 2
    f.truncate(1 << 50)
    os.fsync(f)
`

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'huge files', () => {
  test('are read, and their data is found, at the very byte', async () => {
    await using xfs = await loopFilesystem('xfs')
    await using client = startClient()
    await client.run(LOOK)
    await using mount = await mounted(xfs.path, { flags: { passthrough: false } })
    for (const offset of ['2**53 - 5', '2**53 + 1', '2**60 + 4098', '2**62 + 777', '2**63 - 4096 - 26']) {
      await client.run(`offset = ${offset}; fill(directory, offset)`, { directory: xfs.path })
      const natively = await client.value<string[]>('look(directory, offset)', { directory: xfs.path })
      expect(natively).toContain('ABCDEFGHIJKLMNOPQRSTUVWXYZ')
      expect(await client.value('look(directory, offset)', { directory: mount.path }), offset).toEqual(natively)
    }
  })

  test('and small ones, that share have nothing before their beginning: who looks there is told so, and not kept waiting', async () => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/original`, noise(4 * MEBIBYTE, 1))
    clone(`${xfs.path}/original`, `${xfs.path}/diverged`)
    overwrite(`${xfs.path}/diverged`, 5 * PAGE, noise(PAGE, 2))
    await settle()
    await using mount = await mounted(xfs.path, { flags: { passthrough: false } })
    await using client = startClient()
    await client.run(SEEK_OUTSIDE)
    await client.run('files = [os.open(f"{path}/{name}", os.O_RDONLY) for name in ("original", "diverged")]', {
      path: mount.path,
    })
    expect((await mount.status()).files).toMatchObject({ mapped: 2 })
    await client.run('native = os.open(f"{path}/diverged", os.O_RDONLY)', { path: xfs.path })
    const natively = await client.value<string[]>('seek_outside(native)')
    expect(new Set(natively)).toEqual(new Set(['ENXIO']))
    expect(await client.value('[seek_outside(f) for f in files]')).toEqual([natively, natively])
  })

  test('that share are written and cut like others, and are let go', { timeout: 120_000 }, async () => {
    await using xfs = await loopFilesystem('xfs')
    await using client = startClient()
    await client.run(REPEAT, { path: `${xfs.path}/one` })
    clone(`${xfs.path}/one`, `${xfs.path}/other`)
    await settle()
    await using mount = await mounted(xfs.path)
    const open = 'f, g = [os.open(f"{directory}/one", flags) for directory, flags in ((mount, os.O_RDWR), (source, 0))]'
    await client.run(open, { mount: mount.path, source: xfs.path })
    const { files, homes } = await mount.status()
    expect([files.mapped, homes.homes]).toEqual([1, 1])
    await client.run('os.pwrite(f, b"written", (1 << 43) + 5)')
    const look = (file: 'f' | 'g') =>
      client.value(`[os.pread(${file}, 1 << 16, at).hex() for at in (0, (1 << 43) - 4096, (1 << 44) - 5, 1 << 45)]`)
    expect(await look('f')).toEqual(await look('g'))
    await client.run('os.ftruncate(f, (1 << 43) + 2); os.ftruncate(f, 1 << 45)')
    expect(await look('f')).toEqual(await look('g'))
    await client.run('os.close(f); os.close(g)')
    await expect.poll(async () => (await mount.status()).homes.inUse).toBe(0)
  })
})
