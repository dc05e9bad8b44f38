/** What a program asks for by flags, of a descriptor, of a write or of a file, holds however the file is served: O_APPEND that comes and goes, RWF_DSYNC, chattr +a, RENAME_WHITEOUT. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { type Client, startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, PAGE, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith, testWith } from '../support/requires.ts'

const SIZE = 8 * MEBIBYTE

/** Defines `dirty(path)`: pages of the file that are not on the disk. */
const DIRTY = `
libc = ctypes.CDLL(None, use_errno=True)
def dirty(path):
    descriptor, range, counts = os.open(path, os.O_RDONLY), (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)()
    assert libc.syscall(451, descriptor, range, counts, 0) == 0
    os.close(descriptor)
    return counts[1] + counts[2]`

/** A file, and a clone of it that the daemon writes. */
function makeClone(directory: string): string {
  writeSynced(`${directory}/original`, noise(SIZE, 1))
  clone(`${directory}/original`, `${directory}/clone`)
  return `${directory}/clone`
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3', 'cachestat'], 'writes', () => {
  test.each([
    ['a clone, mapped', {}],
    ['whatever the file, with no passthrough', { passthrough: false as const }],
  ])('are on the disk when they return, where they ask for that: %s', async (_, flags) => {
    await using xfs = await loopFilesystem('xfs')
    const below = makeClone(xfs.path)
    await using mount = await mounted(xfs.path, { flags })
    await using client = startClient()
    await client.run(DIRTY)
    const dirtyAfter = async (open: string, write: string) => {
      run('sync', '--file-system', xfs.path)
      await client.run(`f = os.open(path, os.O_RDWR | ${open})`, { path: `${mount.path}/clone` })
      await client.run(`os.pwritev(f, [b'x' * 65536], 1 << 20, ${write})`)
      const pages = await client.value<number>('dirty(below)', { below })
      await client.run('os.close(f)')
      return pages
    }
    expect(await dirtyAfter('0', '0')).toBe(16)
    for (const [open, write] of [
      ['0', 'os.RWF_DSYNC'],
      ['0', 'os.RWF_SYNC'],
      ['os.O_DSYNC', '0'],
      ['os.O_DSYNC', 'os.RWF_SYNC'],
      ['os.O_APPEND', 'os.RWF_DSYNC'],
    ] as const)
      expect(await dirtyAfter(open, write), `${open}, ${write}`).toBe(0)
  })

  test('go to the end since O_APPEND was set, wherever that is by now, and where they are made since it was taken away', async () => {
    await using xfs = await loopFilesystem('xfs')
    const below = makeClone(xfs.path)
    await using mount = await mounted(xfs.path)
    await using client = startClient()
    const setFlags = (flags: string) => client.run(`fcntl.fcntl(f, fcntl.F_SETFL, ${flags})`)
    const expectSame = async () =>
      expect(await client.value('digest(whole(f))')).toBe(
        await client.value('digest(open(below, "rb").read())', { below }),
      )
    await client.run('f = os.open(path, os.O_RDWR)', { path: `${mount.path}/clone` })
    await client.run('os.pwrite(f, b"first", 0)')
    await setFlags('os.O_APPEND')
    fs.appendFileSync(below, 'appended by others')
    await client.run('os.write(f, b"appended by us")')
    expect(fs.readFileSync(below).subarray(SIZE).toString()).toBe('appended by othersappended by us')
    await setFlags('0')
    await client.run('os.pwrite(f, b"FIRST", 0)')
    expect(fs.readFileSync(below).subarray(0, 5).toString()).toBe('FIRST')
    // Others have cut it: the end lies where the clone’s home has other bytes.
    await client.run('a = os.open(path, os.O_RDWR | os.O_APPEND)', { path: `${mount.path}/clone` })
    await client.run('fcntl.fcntl(a, fcntl.F_SETFL, 0)')
    // Refused with O_APPEND.
    expect(await client.value('os.copy_file_range(f, a, 4096, 0, 8192)')).toBe(PAGE)
    await expectSame()
    await client.run('fcntl.fcntl(a, fcntl.F_SETFL, os.O_APPEND)')
    fs.truncateSync(below, SIZE / 2 + 3 * PAGE + 5)
    await client.run('os.write(a, b"at the new end")')
    await expectSame()
  })

  testWith(
    ['linux:6.9'],
    'go to the end by a descriptor with O_APPEND, also where one asks for none, of which FUSE tells nothing',
    async () => {
      await using xfs = await loopFilesystem('xfs')
      makeClone(xfs.path)
      fs.writeFileSync(`${xfs.path}/private`, 'bytes')
      await using mount = await mounted(xfs.path)
      await using client = startClient()
      for (const name of ['clone', 'private']) {
        const { size } = fs.statSync(`${xfs.path}/${name}`)
        await client.run('f = os.open(path, os.O_WRONLY | os.O_APPEND)', { path: `${mount.path}/${name}` })
        // RWF_NOAPPEND.
        await client.run('os.pwritev(f, [b"noted"], 0, 0x20)')
        await client.run('os.close(f)')
        expect(fs.readFileSync(`${xfs.path}/${name}`).subarray(size).toString()).toBe('noted')
      }
    },
  )

  test('of a file that may only be appended to change nothing else, whoever opens it', async () => {
    await using xfs = await loopFilesystem('xfs')
    await using mount = await mounted(xfs.path)
    await using client = startClient(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'])
    const path = `${mount.path}/log`
    fs.writeFileSync(`${xfs.path}/log`, 'a line of the log\n')
    fs.chownSync(`${xfs.path}/log`, 65534, 65534)
    // Read once, so that it is warm.
    fs.readFileSync(path)
    run('chattr', '+a', `${xfs.path}/log`)
    try {
      await client.run('f = os.open(path, os.O_RDWR | os.O_APPEND)', { path })
      await store(client)
      await client.outcome('fcntl.fcntl(f, fcntl.F_SETFL, 0)')
      await client.outcome('os.pwrite(f, b"EVIL", 0)')
      await client.run('fcntl.fcntl(f, fcntl.F_SETFL, os.O_APPEND)')
      await client.run('os.write(f, b"another\\n")')
      expect(fs.readFileSync(`${xfs.path}/log`, 'utf8')).toBe('a line of the log\nanother\n')
      await client.outcome('os.close(f)')
    } finally {
      run('chattr', '-a', `${xfs.path}/log`)
    }
  })

  test.each([
    ['since before it is opened', true],
    ['only since somebody reads it', false],
  ])('are appended to a file that is append-only %s, by several, while others read it', async (_, isEarly) => {
    await using xfs = await loopFilesystem('xfs')
    await using mount = await mounted(xfs.path)
    await using reader = startClient()
    await using client = startClient()
    const below = `${xfs.path}/log`
    const path = `${mount.path}/log`
    fs.writeFileSync(below, 'one\n')
    if (isEarly) run('chattr', '+a', below)
    try {
      await reader.run('f = os.open(path, os.O_RDONLY)', { path })
      if (!isEarly) run('chattr', '+a', below)
      await client.run('a = os.open(path, os.O_WRONLY | os.O_APPEND)', { path })
      await client.run('os.write(a, b"two\\n")')
      expect(await reader.value('os.read(f, 100).decode()')).toBe('one\ntwo\n')
      await client.run('r = os.open(path, os.O_RDONLY)')
      await client.run('b = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)')
      await client.run('os.write(b, b"three\\n")')
      await client.run('os.write(a, b"four\\n")')
      expect(await reader.value('os.read(f, 100).decode()')).toBe('three\nfour\n')
      expect(await client.value('os.read(r, 100).decode()')).toBe('one\ntwo\nthree\nfour\n')
      await client.outcome('fcntl.fcntl(b, fcntl.F_SETFL, 0)')
      await client.outcome('os.pwrite(b, b"EVIL", 0)')
      expect(fs.readFileSync(below, 'utf8')).toMatch(/^one\ntwo\nthree\nfour\n/)
      await client.run('[os.close(one) for one in (a, b, r)]')
      expect(await client.value('open(path, "a").write("more")')).toBe(4)
    } finally {
      run('chattr', '-a', below)
    }
  })

  // The reader is passed through after an appender, who is not, and would keep the next one out.
  test('are appended to a file that is append-only before somebody reads it and after', async () => {
    await using xfs = await loopFilesystem('xfs')
    await using mount = await mounted(xfs.path)
    await using client = startClient()
    fs.writeFileSync(`${xfs.path}/log`, 'one\n')
    run('chattr', '+a', `${xfs.path}/log`)
    try {
      await client.run('a = os.open(path, os.O_WRONLY | os.O_APPEND)', { path: `${mount.path}/log` })
      await client.run('r = os.open(path, os.O_RDONLY)')
      await client.run('b = os.open(path, os.O_WRONLY | os.O_APPEND)')
      await client.run('os.write(b, b"two\\n")')
      expect(await client.value('os.read(r, 100).decode()')).toBe('one\ntwo\n')
      await client.run('[os.close(one) for one in (a, b, r)]')
    } finally {
      run('chattr', '-a', `${xfs.path}/log`)
    }
  })

  test('run nothing where nothing is run natively', async () => {
    await using xfs = await loopFilesystem('xfs', { mount: ['noexec'] })
    fs.writeFileSync(`${xfs.path}/program`, '#!/bin/sh\n', { mode: 0o755 })
    await using mount = await mounted(xfs.path)
    expect(() => run(`${mount.path}/program`)).toThrow('EACCES')
  })

  test('leave a whiteout that is the client’s', async () => {
    await using xfs = await loopFilesystem('xfs')
    fs.chmodSync(xfs.path, 0o777)
    await using mount = await mounted(xfs.path)
    await using client = startClient(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'])
    await client.run('open(directory + "/a", "w").close()', { directory: mount.path })
    await client.run('libc = ctypes.CDLL(None, use_errno=True)')
    const from = 'f"{directory}/a".encode()'
    expect(await client.value(`libc.renameat2(-100, ${from}, -100, f"{directory}/b".encode(), 4)`)).toBe(0)
    expect(fs.statSync(`${xfs.path}/a`)).toMatchObject({ uid: 65534, gid: 65534 })
    expect(fs.statSync(`${xfs.path}/a`).isCharacterDevice()).toBe(true)
  })
})

/** Stores at the file's beginning through a mapping, if that can be made, in a child: what is stored in vain may end it. */
async function store(client: Client): Promise<void> {
  await client.run(`
child = os.fork()
if child == 0:
    try:
        with mmap.mmap(f, 8) as mapping:
            mapping[0:4] = b"EVIL"
            mapping.flush()
    finally:
        os._exit(0)
os.waitpid(child, 0)`)
}
