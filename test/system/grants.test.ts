/**
 * Grants in the mount: a file, or a part of it, that one command has alone. What everybody else sees, before, meanwhile and after, and what is left
 * when something fails.
 */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { deviceOf, grantSocket } from '../../src/exclusive/mounts.ts'
import { ROOT_DIRECTORY } from '../../src/util/runtime-directory.ts'
import { type Client, openedClient, startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, KIBIBYTE, MEBIBYTE, noise, PAGE, run, writeSynced } from '../support/files.ts'
import { finish, startHolder, untilWaiting } from '../support/holder.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

const SIZE = 64 * KIBIBYTE
const OLD = 'o'
const NEW = 'N'

const pageOf = (text: string) => text.repeat(PAGE / text.length)
const fill = (holder: Client, pages = 1) => holder.run(`m[:${pages * PAGE}] = b'${NEW}' * ${pages * PAGE}`)

for (const kind of ['xfs', 'ext4'] as const)
  describeWith(['root', 'loop', kind, 'fuse', 'program:python3'], `grants on ${kind}`, () => {
    test('a filter: its input is what was there, its output is published', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE - 100))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      expect(samepage(['exclusive', file, '--range', '4KiB-8KiB', '--sync', '--', 'tr', OLD, NEW])).toMatchObject({
        status: 0,
        stderr: '',
      })
      for (const place of [mount.path, below.path]) {
        const content = fs.readFileSync(`${place}/f`, 'latin1')
        expect(content).toBe(OLD.repeat(PAGE) + NEW.repeat(PAGE) + OLD.repeat(SIZE - 100 - 2 * PAGE))
      }
      // All of it, with the part of a page at its end.
      expect(samepage(['exclusive', file, '--', 'tr', OLD, 'z']).status).toBe(0)
      expect(fs.readFileSync(file, 'latin1')).not.toContain(OLD)
      expect(fs.statSync(file).size).toBe(SIZE - 100)
    })

    test('a command that fails, writes too little, or cannot be run, changes nothing', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const status = (...args: string[]) => samepage(['exclusive', `${mount.path}/f`, ...args]).status
      expect(status('--', 'sh', '-c', 'tr o N; exit 7')).toBe(7)
      expect(status('--', 'sh', '-c', 'kill -KILL $$')).toBe(128 + 9)
      expect(status('--', 'head', '-c', '100')).toBe(125)
      expect(status('--', 'cat', `${mount.path}/f`, `${below.path}/f`)).toBe(125)
      expect(status('--', '/nonexistent')).toBe(127)
      expect(status('--', below.path)).toBe(126)
      expect(status('--range', '100-8KiB', '--', 'cat')).toBe(125)
      expect(status('--range', '1MiB-2MiB', '--', 'cat')).toBe(125)
      expect(status('--range', '8KiB', '--', 'cat')).toBe(2)
      // In milliseconds that is 16,100 and a bit.
      expect(status('--timeout', '16.1s', '--', 'cat')).toBe(0)
      expect(status()).toBe(2)
      expect(samepage(['exclusive', `${below.path}/f`, '--', 'cat']).status).toBe(125)
      expect(fs.readFileSync(`${below.path}/f`, 'latin1')).toBe(OLD.repeat(SIZE))
    })

    test('readers, writers and who truncates wait; what is published is seen whole; others are not kept', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      const holder = await startHolder(file, '--range', '0-8KiB')
      await fill(holder, 2)
      await using reader = await openedClient(file, 'O_RDONLY')
      await using writer = await openedClient(file)
      await using cutter = await openedClient(file)
      expect(await reader.value(`os.pread(f, 4096, 8192).decode()`)).toBe(pageOf(OLD))
      await writer.run(`os.pwrite(f, b'w' * 4096, 3 * 4096)`)
      const read = reader.value<string>('os.pread(f, 3 * 4096, 4096).decode()')
      await untilWaiting(mount, 1)
      const written = writer.run(`os.pwrite(f, b'later', 100)`)
      await untilWaiting(mount, 2)
      // Waits for the writer already in the kernel.
      const cut = cutter.run('os.ftruncate(f, 4097)')
      expect((await mount.status()).grants).toMatchObject({
        held: [{ path: 'f', start: 0, length: 2 * PAGE, uid: 0 }],
        wanted: 0,
      })
      expect(await finish(holder)).toBe(0)
      expect(await read).toBe(pageOf(NEW) + pageOf(OLD) + pageOf('w'))
      await Promise.all([written, cut])
      expect(fs.readFileSync(`${below.path}/f`, 'latin1')).toBe(
        `${NEW.repeat(100)}later${NEW.repeat(PAGE - 105)}${NEW}`,
      )
    })

    test('who asked not to wait gets EAGAIN, who is signalled EINTR', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      await using holder = await startHolder(file, '--range', '0-4KiB')
      await using client = await openedClient(file, 'O_RDWR|O_NONBLOCK')
      await expect(client.run('os.pread(f, 1, 0)')).rejects.toThrow('EAGAIN')
      await expect(client.run(`os.pwrite(f, b'x', 4095)`)).rejects.toThrow('EAGAIN')
      expect(await client.value('os.pread(f, 1, 4096).decode()')).toBe(OLD)
      await using patient = await openedClient(file)
      // Python goes on after a signal unless its handler raises.
      await patient.run(
        `signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError(errno.EINTR, '')))`,
      )
      for (const call of ['os.pread(f, 1, 0)', `os.pwrite(f, b'x', 0)`, 'os.ftruncate(f, 0)']) {
        const waiting = expect(patient.run(call)).rejects.toThrow('EINTR')
        await untilWaiting(mount, 1)
        patient.kill('SIGUSR1')
        await waiting
      }
      await using killed = await openedClient(file)
      const never = killed.run('os.pread(f, 1, 0)').catch(() => {})
      await untilWaiting(mount, 1)
      killed.kill('SIGKILL')
      await killed.ended
      await never
      expect(samepage(['exclusive', '--no-wait', file, '--', 'cat']).status).toBe(123)
      expect(samepage(['exclusive', '--timeout', '50ms', '--range', '0-8KiB', file, '--', 'cat']).status).toBe(124)
      expect(samepage(['exclusive', '--no-wait', '--range', '4KiB-', file, '--', 'cat']).status).toBe(0)
      expect(await finish(holder, 9)).toBe(9)
      expect(fs.readFileSync(file, 'latin1')).toBe(OLD.repeat(SIZE))
    })

    test('readers take what was published last, where the holder lets them', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      const holder = await startHolder(file, '--readers', 'last-published')
      await fill(holder, SIZE / PAGE)
      await using client = await openedClient(file)
      expect(await client.value('os.pread(f, 4096, 0).decode()')).toBe(pageOf(OLD))
      const write = client.run(`os.pwrite(f, b'x', 0)`)
      await untilWaiting(mount, 1)
      await using reader = await openedClient(file, 'O_RDONLY')
      expect(await reader.value('os.pread(f, 4096, 0).decode()')).toBe(pageOf(OLD))
      expect(await finish(holder)).toBe(0)
      await write
      expect(await reader.value('os.pread(f, 4096, 0).decode()')).toBe(`x${NEW.repeat(PAGE - 1)}`)
    })

    test('copies wait for both of their ends', async () => {
      await using below = await loopFilesystem(kind)
      for (const name of ['from', 'to']) fs.writeFileSync(`${below.path}/${name}`, name[0]!.repeat(SIZE))
      await using mount = await mounted(below.path)
      const from = await startHolder(`${mount.path}/from`, '--range', '0-4KiB')
      const to = await startHolder(`${mount.path}/to`, '--range', '0-4KiB')
      await using client = await openedClient(`${mount.path}/from`)
      await client.run('g = os.open(file, os.O_RDWR)', { file: `${mount.path}/to` })
      const copied = client.value('os.copy_file_range(f, g, 4096, 0, 0)')
      await untilWaiting(mount, 1)
      await fill(from)
      expect(await finish(from)).toBe(0)
      await untilWaiting(mount, 1)
      expect(await finish(to, 1)).toBe(1)
      expect(await copied).toBe(PAGE)
      expect(fs.readFileSync(`${below.path}/to`, 'latin1')).toBe(pageOf(NEW) + 't'.repeat(SIZE - PAGE))
    })

    test('first come, first served', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(PAGE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      const first = await startHolder(file)
      const second = startHolder(file)
      await eventually(async () => expect((await mount.status()).grants?.wanted).toBe(1))
      await using writer = await openedClient(file)
      const written = writer.run(`os.pwrite(f, b'w', 0)`)
      await untilWaiting(mount, 1)
      const third = startHolder(file)
      await eventually(async () => expect((await mount.status()).grants?.wanted).toBe(2))
      expect(await finish(first, 1)).toBe(1)
      const secondHolder = await second
      expect(await secondHolder.value('m[:1].decode()')).toBe(OLD)
      await secondHolder.run(`m[1:2] = b'2'`)
      expect(await finish(secondHolder)).toBe(0)
      await written
      const thirdHolder = await third
      expect(await thirdHolder.value('m[:3].decode()')).toBe('w2o')
      expect(await finish(thirdHolder)).toBe(0)
    })

    test('a holder that is killed has abandoned; one of a mount that ends is told', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      const mount = await mounted(below.path)
      await using _ = mount
      const file = `${mount.path}/f`
      const holder = await startHolder(file)
      await fill(holder)
      await using reader = await openedClient(file, 'O_RDONLY')
      const read = reader.value('os.pread(f, 4096, 0).decode()')
      await untilWaiting(mount, 1)
      holder.kill('SIGKILL')
      expect(await read).toBe(pageOf(OLD))
      await reader.run('os.close(f)')
      const last = await startHolder(file)
      await fill(last)
      await mount.unmount()
      expect(await finish(last)).toBe(121)
      expect(fs.readFileSync(`${below.path}/f`, 'latin1')).toBe(OLD.repeat(SIZE))
    })

    test('a grant that is revoked: given back in time, or taken, and then worth nothing', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      const willing = await startHolder(file)
      await willing.run(`signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); m[:1] = b'1'`)
      expect(samepage(['exclusive', '--revoke', file])).toMatchObject({ status: 0, stderr: '' })
      await willing.ended
      expect(willing.process.exitCode).toBe(0)
      expect(fs.readFileSync(file, 'latin1').slice(0, 2)).toBe(`1${OLD}`)
      const obedient = await startHolder(file)
      await obedient.run(`m[:1] = b'3'`)
      expect(samepage(['exclusive', '--revoke', file])).toMatchObject({ status: 0, stderr: '' })
      await obedient.ended
      expect(obedient.process.exitCode).toBe(121)
      expect(fs.readFileSync(file, 'latin1').slice(0, 2)).toBe(`1${OLD}`)
      const stubborn = await startHolder(file)
      await stubborn.run(`signal.signal(signal.SIGTERM, signal.SIG_IGN); m[:1] = b'2'`)
      expect(samepage(['exclusive', '--revoke', '--deadline', '100ms', file])).toMatchObject({
        status: 0,
        stderr: expect.stringContaining('1 had to be taken'),
      })
      expect(fs.readFileSync(file, 'latin1').slice(0, 2)).toBe(`1${OLD}`)
      expect(await finish(stubborn)).toBe(121)
      expect(fs.readFileSync(file, 'latin1').slice(0, 2)).toBe(`1${OLD}`)
    })

    test('a publish that runs out of space leaves what was there', async () => {
      const tight = kind === 'ext4' ? { size: 64 * MEBIBYTE, mkfs: ['-m', '0'] } : { size: 320 * MEBIBYTE }
      await using below = await loopFilesystem(kind, tight)
      // To be written anew it takes new blocks: of a hole, or of what a clone shares.
      const length = 16 * MEBIBYTE
      const old = kind === 'ext4' ? Buffer.alloc(length) : noise(length, 1)
      if (kind === 'ext4') {
        fs.writeFileSync(`${below.path}/f`, '')
        fs.truncateSync(`${below.path}/f`, length)
      } else {
        writeSynced(`${below.path}/original`, old)
        clone(`${below.path}/original`, `${below.path}/f`)
      }
      await using mount = await mounted(below.path)
      const holder = await startHolder(`${mount.path}/f`)
      await holder.run(`m[:] = b'${NEW}' * len(m)`)
      const { bavail, bsize } = fs.statfsSync(below.path)
      const free = bavail * bsize
      run('fallocate', '-l', String(free - 6 * MEBIBYTE), `${below.path}/full`)
      expect(await finish(holder)).toBe(125)
      expect(fs.readFileSync(`${mount.path}/f`).equals(old)).toBe(true)
      fs.rmSync(`${below.path}/full`)
      expect(
        samepage(['exclusive', `${mount.path}/f`, '--range', '0-4KiB', '--', 'head', '-c', '4096', '/dev/zero']),
      ).toMatchObject({ status: 0, stderr: '' })
    })

    test('a command that writes without end is ended once it has written too much, and nothing is published', async () => {
      await using below = await loopFilesystem(kind)
      const old = OLD.repeat(SIZE)
      fs.writeFileSync(`${below.path}/f`, old)
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      const tooMuch = {
        status: 125,
        stderr: expect.stringMatching(
          `samepage: ${file}: the command wrote more than ${SIZE} bytes: nothing has been published\n$`,
        ),
      }
      expect(samepage(['exclusive', file, '--', 'yes'])).toMatchObject(tooMuch)
      expect(samepage(['exclusive', file, '--', 'sh', '-c', 'cat; printf x'])).toMatchObject(tooMuch)
      expect(samepage(['exclusive', file, '--', 'head', '-c', '1'])).toMatchObject({
        status: 125,
        stderr: expect.stringContaining(`wrote 1 of ${SIZE} bytes`),
      })
      expect(fs.readFileSync(file, 'latin1')).toBe(old)
    })

    test('who has it open past the daemon is named; who opens it while it is granted is not', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      await using reader = await openedClient(file, 'O_RDONLY')
      const refused = samepage(['exclusive', file, '--', 'cat'])
      expect(refused.status).toBe(122)
      expect(refused.stderr).toContain(`${reader.process.pid}`)
      expect(refused.stderr).toContain('--no-passthrough')
      await reader.run('m = mmap.mmap(f, 0, prot=mmap.PROT_READ); os.close(f)')
      expect(samepage(['exclusive', file, '--', 'cat'])).toMatchObject({
        status: 122,
        stderr: expect.stringContaining(`${reader.process.pid}`),
      })
      await reader.run('m.close()')
      const holder = await startHolder(file)
      await reader.run('f = os.open(file, os.O_RDONLY); m = mmap.mmap(f, 0, prot=mmap.PROT_READ)', { file })
      expect(await finish(holder)).toBe(0)
      expect(samepage(['exclusive', file, '--', 'cat']).status).toBe(0)
    })

    test('mapped pages are old until they are published, and new after that; stores to them are refused', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path, { flags: { passthrough: false } })
      const file = `${mount.path}/f`
      await using reader = await openedClient(file, 'O_RDONLY')
      await reader.run('m = mmap.mmap(f, 0, prot=mmap.PROT_READ)')
      expect(await reader.value('m[:4096].decode()')).toBe(pageOf(OLD))
      const holder = await startHolder(file, '--range', '0-8KiB')
      await fill(holder, 2)
      expect(await reader.value('m[:8192].decode()')).toBe(pageOf(OLD).repeat(2))
      await using storer = await openedClient(file)
      await storer.run(`m = mmap.mmap(f, 0); m[100:101] = b's'; m[3 * 4096:3 * 4096 + 1] = b's'`)
      await expect(storer.run('m.flush(0, 4096)')).rejects.toThrow('EIO')
      await storer.run('m.flush(3 * 4096, 4096); m.close()')
      expect(await finish(holder)).toBe(0)
      expect(await reader.value('m[:12288].decode()')).toBe(pageOf(NEW).repeat(2) + pageOf(OLD))
      expect(await reader.value('m[3 * 4096:3 * 4096 + 2].decode()')).toBe(`s${OLD}`)
      // While somebody can store to it, it is not granted.
      await storer.run('m = mmap.mmap(f, 0); m[0:1]')
      expect(samepage(['exclusive', file, '--', 'cat'])).toMatchObject({
        status: 122,
        stderr: expect.stringContaining(`${storer.process.pid}`),
      })
    })

    test('a command reads and writes its own range through the mount as ever', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      expect(samepage(['exclusive', file, '--', 'sh', '-c', `cat "$0" | tr ${OLD} ${NEW}`, file]).status).toBe(0)
      expect(fs.readFileSync(file, 'latin1')).toBe(NEW.repeat(SIZE))
    })

    test('who would wait in a circle is told so, by a read as by a wish, and leaves nothing behind', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      const [first, second] = [
        await startHolder(file, '--range', '0-4KiB'),
        await startHolder(file, '--range', '8KiB-12KiB'),
      ]
      const readAll = 'os.pread(os.open(file, os.O_RDONLY), 12288, 0).decode()'
      await fill(second)
      const read = first.value(readAll, { file })
      await untilWaiting(mount, 1)
      await expect(second.value(readAll, { file })).rejects.toThrow(/EDEADLO?C?K/)
      await untilWaiting(mount, 1)
      expect(await finish(second)).toBe(0)
      expect(await read).toBe(pageOf(OLD) + pageOf(OLD) + pageOf(NEW))
      expect(await finish(first)).toBe(0)
      await untilWaiting(mount, 0)
    })

    test('asynchronous direct reads that wait do not hold up page faults', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      fs.writeFileSync(`${below.path}/other`, noise(8 * MEBIBYTE, 1))
      await using mount = await mounted(below.path, { flags: { passthrough: false } })
      const file = `${mount.path}/f`
      await using holder = await startHolder(file, '--range', '0-4KiB')
      await using reader = await openedClient(file, 'O_RDONLY|O_DIRECT')
      const count = 200
      // struct iocb: data, key and flags, opcode (read) and priority, descriptor, buffer, bytes, offset, reserved …
      await reader.run(
        `import platform, struct
syscall = ctypes.CDLL(None, use_errno=True).syscall
setup, submit = (206, 209) if platform.machine() == 'x86_64' else (0, 2)
context = ctypes.c_ulong(0)
assert syscall(setup, count, ctypes.byref(context)) == 0
memory = mmap.mmap(-1, 4096 * count)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
asked = [ctypes.create_string_buffer(struct.pack('QQHhIQQQQQ', 0, 0, 0, 0, f, at + i * 4096, 4096, 0, 0, 0)) for i in range(count)]
assert syscall(submit, context, ctypes.c_long(count), (ctypes.c_void_p * count)(*map(ctypes.addressof, asked))) == count`,
        { count },
      )
      await untilWaiting(mount, count)
      await using mapper = await openedClient(`${mount.path}/other`, 'O_RDONLY')
      const faults = mapper.value<number>(
        'sum(1 for i in [mmap.mmap(f, 0, prot=mmap.PROT_READ)] for at in range(0, len(i), 4096 * 97) if i[at] >= 0)',
      )
      const seen = await Promise.race([faults, sleep(20_000, undefined, { ref: false }).then(() => 'they wait')])
      expect(await finish(holder)).toBe(0)
      expect(seen).toBe(Math.ceil((8 * MEBIBYTE) / PAGE / 97))
      await faults
      await untilWaiting(mount, 0)
    })

    test('one user’s connections leave enough for others', async () => {
      await using below = await loopFilesystem(kind)
      fs.writeFileSync(`${below.path}/f`, OLD.repeat(SIZE))
      fs.chmodSync(`${below.path}/f`, 0o666)
      await using mount = await mounted(below.path)
      const socket = grantSocket(deviceOf(mount.path), ROOT_DIRECTORY)
      await using greedy = startClient(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'])
      await greedy.run(
        `taken = [socket.socket(socket.AF_UNIX) for _ in range(300)]
for one in taken: one.connect(path)`,
        { path: socket },
      )
      // Those that are too many have been closed by then.
      expect(await greedy.value('sum(len(one.recv(1)) for one in taken)')).toBe(128)
      const exclusive = ['exclusive', '--timeout', '2s', '--range', '0-4KiB', `${mount.path}/f`, '--', 'cat']
      const theirs = samepage(exclusive, { uid: 65534, gid: 65534 })
      expect([theirs.status, theirs.stderr]).toEqual([125, expect.stringContaining('no more connections of this user')])
      expect(samepage(exclusive, { uid: 65533, gid: 65533 }).status).toBe(0)
      expect(samepage(exclusive).status).toBe(0)
    })

    test('who may write to the file may have it, and nobody else', async () => {
      await using below = await loopFilesystem(kind)
      for (const [name, mode] of [
        ['mine', 0o600],
        ['readable', 0o644],
        ['shared', 0o666],
      ] as const) {
        fs.writeFileSync(`${below.path}/${name}`, OLD.repeat(PAGE))
        fs.chmodSync(`${below.path}/${name}`, mode)
      }
      await using mount = await mounted(below.path)
      const asUser = (name: string, wrapper = ['setpriv', '--reuid=1001', '--regid=1001', '--clear-groups']) =>
        samepage(['exclusive', `${mount.path}/${name}`, '--', 'tr', OLD, NEW], { wrapper })
      expect(asUser('mine')).toMatchObject({ status: 125, stderr: expect.stringContaining('EACCES') })
      expect(asUser('readable')).toMatchObject({ status: 125, stderr: expect.stringContaining('EACCES') })
      expect(asUser('shared')).toMatchObject({ status: 0, stderr: '' })
      expect(fs.readFileSync(`${below.path}/shared`, 'latin1')).toBe(pageOf(NEW))
      await using readOnly = await mounted(below.path, { flags: { readOnly: true } })
      expect(samepage(['exclusive', `${readOnly.path}/shared`, '--', 'cat']).status).toBe(125)
    })
  })

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'grants of clones', () => {
  test('the others keep their bytes, whoever has them open, and however', async () => {
    await using xfs = await loopFilesystem('xfs')
    const content = noise(16 * MEBIBYTE, 1)
    writeSynced(`${xfs.path}/original`, content)
    for (const name of ['a', 'b']) clone(`${xfs.path}/original`, `${xfs.path}/${name}`)
    await using mount = await mounted(xfs.path)
    await using sibling = await openedClient(`${mount.path}/b`, 'O_RDONLY')
    await using own = await openedClient(`${mount.path}/a`)
    const holder = await startHolder(`${mount.path}/a`, '--range', '1MiB-3MiB')
    await holder.run(`m[:] = b'${NEW}' * len(m)`)
    expect(await sibling.value('digest(whole(f))')).toBe(
      await sibling.value('digest(open(p, "rb").read())', { p: `${xfs.path}/original` }),
    )
    expect(await finish(holder)).toBe(0)
    const changed = Buffer.from(content)
    changed.fill(NEW, MEBIBYTE, 3 * MEBIBYTE)
    for (const place of [mount.path, xfs.path]) {
      expect(fs.readFileSync(`${place}/a`).equals(changed)).toBe(true)
      expect(fs.readFileSync(`${place}/b`).equals(content)).toBe(true)
    }
    // Who had it open reads it in pieces: those of the home, and those that are its own now.
    expect(await own.value('digest(whole(f))')).toBe(
      await own.value('digest(open(p, "rb").read())', { p: `${xfs.path}/a` }),
    )
  })
})
