/** Sparse files of up to 8 EiB: at and above 2^53 not every offset is a number any more. */
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

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
})
