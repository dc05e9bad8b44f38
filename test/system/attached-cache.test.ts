/** A library cache that is attached to a mount: what one side has exclusively, the other keeps its hands off. Each promise of docs/exclusive.md a test. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { attachedClient } from '../support/cache-client.ts'
import { startClient } from '../support/client.ts'
import { eventually, soon } from '../support/eventually.ts'
import { PAGE } from '../support/files.ts'
import { finish, startHolder, untilWaiting } from '../support/holder.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted, PROGRAM } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

const PAGES = 16
const OLD = 'o'
const NEW = 'N'

const page = (letter: string, pages = 1) => letter.repeat(pages * PAGE)

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a cache attached to a mount', () => {
  let filesystem: Awaited<ReturnType<typeof loopFilesystem>>
  let below: string
  let mount: Mounted
  let names = 0

  beforeAll(async () => {
    filesystem = await loopFilesystem('xfs')
    below = filesystem.path
    mount = await mounted(below)
  }, 60_000)
  afterAll(async () => {
    await mount[Symbol.asyncDispose]()
    await filesystem[Symbol.asyncDispose]()
  }, 60_000)

  /** A new file of old bytes, as the mount shows it, and as it is. */
  function newFile(): { readonly file: string; readonly source: () => string } {
    const name = `file-${names++}`
    fs.writeFileSync(path.join(below, name), page(OLD, PAGES))
    return { file: path.join(mount.path, name), source: () => fs.readFileSync(path.join(below, name), 'latin1') }
  }

  const fill = (letter: string, pages = 1) => `m[:${pages * PAGE}] = b'${letter}' * ${pages * PAGE}`

  test('what the cache has exclusively keeps readers and writers of the mount out, until it is published', async () => {
    const { file, source } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
    await cache.exclusive('f', 'grant', { position: 0, length: 2 * PAGE })
    await using reader = startClient()
    await using writer = startClient()
    await reader.run('f = os.open(file, os.O_RDONLY)', { file })
    await writer.run('f = os.open(file, os.O_RDWR)', { file })
    expect(await reader.value('os.pread(f, 4096, 8192).decode()')).toBe(page(OLD))
    const read = reader.value('os.pread(f, 4096, 4096).decode()')
    await untilWaiting(mount, 1)
    const written = writer.run(`os.pwrite(f, b'w', 0)`)
    await untilWaiting(mount, 2)
    await cache.publish('grant', NEW)
    expect(await read).toBe(page(NEW))
    await written
    expect(source()).toBe(`w${page(NEW, 2).slice(1)}${page(OLD, PAGES - 2)}`)
    // Its own readers have the new bytes, too. The other write they see when the file is opened again.
    expect(await cache.read('f', PAGE, PAGE)).toBe(page(NEW))
  })

  test('what a command has exclusively keeps readers and writers of the cache out, hits included, until it is published', async () => {
    const { file, source } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
    expect(await cache.tryRead('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
    const holder = await startHolder(file, '--range', '0-8KiB')
    expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
    expect(await cache.tryRead('f', 2 * PAGE, PAGE)).toBe(page(OLD))
    await expect(cache.read('f', 0, PAGE, { wait: false })).rejects.toThrow('EAGAIN')
    await expect(cache.write('f', PAGE, 'x', { wait: false })).rejects.toThrow('EAGAIN')
    await expect(cache.run('kept.f.readSync(Buffer.alloc(10), { position: 0 })')).rejects.toThrow('EAGAIN')
    await expect(cache.run('kept.f.writeSync(Buffer.alloc(10), { position: 0 })')).rejects.toThrow('EAGAIN')
    const read = cache.read('f', PAGE, PAGES * PAGE)
    const written = cache.write('f', 0, 'w')
    const cut = cache.run('await kept.f.truncate(4097)')
    expect(await soon(read)).toBe('waits')
    expect(await soon(written)).toBe('waits')
    expect(await soon(cut)).toBe('waits')
    await holder.run(fill(NEW, 2))
    expect(await finish(holder)).toBe(0)
    await Promise.all([read, written, cut])
    expect(await read).toMatch(/^N+o*$/)
    expect(source()).toBe(`w${page(NEW).slice(1)}${NEW}`)
  })

  test('writes of the cache that overlap reach the file in the order in which they were called, whichever of them the mount makes wait', async () => {
    const { file, source } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    for (let round = 0; round < 10; round++) {
      // They are called before, while and after the range is granted, and the last page of the longer ones is what a command has.
      const writing = cache.run<string>(`
        let last, stop = false
        const all = []
        setTimeout(() => (stop = true), 600)
        for (let i = 0; !stop; i++) {
          last = String.fromCharCode(97 + (i % 26))
          all.push(kept.f.write(Buffer.alloc(i % 2 === 0 ? 8192 : 4096, last), { position: 0 }))
          await new Promise((resolve) => setTimeout(resolve, i % 3))
        }
        await Promise.all(all)
        return last`)
      const holder = await startHolder(file, '--range', '4KiB-8KiB')
      await sleep(50)
      expect(await finish(holder)).toBe(0)
      expect(page(await writing)).toBe(source().slice(0, PAGE))
    }
  })

  test('a file that is opened while a part of it is granted; other threads of the cache', async () => {
    const { file } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file)
    await cache.read('f', 0, PAGES * PAGE)
    await cache.run('await kept.f.close()')
    const holder = await startHolder(file, '--range', '0-4KiB')
    // What was cached before counts no more.
    await cache.open('f', file)
    expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
    const inThread = (body: string) =>
      cache.run<string>(
        `const { Worker } = await import('node:worker_threads')
         const handle = kept.cache.handle()
         const code = \`
           const { workerData, parentPort } = require('node:worker_threads')
           import(workerData.library).then(async ({ PageCache }) => {
             const cache = await PageCache.attach(workerData.handle)
             const file = await cache.open(workerData.file)
             const buffer = Buffer.alloc(4096)
             const said = await (async () => { ${body} })().catch((error) => error.code)
             await file.close()
             await cache.close()
             parentPort.postMessage(String(said))
           })\`
         const workerData = { handle, file, library }
         const worker = new Worker(code, { eval: true, workerData, transferList: [...handle.transferList] })
         return await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))`,
        { file, library: path.join(path.dirname(path.dirname(PROGRAM)), 'index.js') },
      )
    expect(await inThread('return file.tryRead(buffer, { position: 0 })')).toBe('undefined')
    expect(await inThread('return file.readSync(buffer, { position: 0 })')).toBe('EAGAIN')
    expect(await inThread('return file.readSync(buffer, { position: 4096 })')).toBe(String(PAGE))
    const read = inThread('await file.read(buffer, { position: 0 }); return buffer.toString("latin1")')
    await holder.run(fill(NEW))
    expect(await finish(holder)).toBe(0)
    expect(await read).toBe(page(NEW))
  })

  test('readers who take what was published last, on both sides', async () => {
    const { file, source } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    await cache.read('f', 0, PAGE)
    const holder = await startHolder(file, '--range', '0-8KiB', '--readers', 'last-published')
    expect(await cache.tryRead('f', 0, PAGE)).toBe(page(OLD))
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
    await expect(cache.write('f', 0, 'x', { wait: false })).rejects.toThrow('EAGAIN')
    await holder.run(fill(NEW, 2))
    expect(await cache.read('f', 0, 2 * PAGE)).toBe(page(OLD, 2))
    expect(await finish(holder)).toBe(0)
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(NEW, 2) + page(OLD, PAGES - 2))

    await using reader = startClient()
    await reader.run('f = os.open(file, os.O_RDONLY)', { file })
    await cache.exclusive('f', 'grant', { length: PAGE, readers: 'last-published' })
    expect(await reader.value('os.pread(f, 4096, 0).decode()')).toBe(page(NEW))
    expect(await cache.read('f', 0, PAGE)).toBe(page(NEW))
    await cache.publish('grant', 'z', { sync: true })
    expect(await reader.value('os.pread(f, 4096, 0).decode()')).toBe(page('z'))
    expect(await cache.read('f', 0, PAGE)).toBe(page('z'))
    expect(source().slice(0, PAGE)).toBe(page('z'))
  })

  test('two caches: each has what the other published, whole; the one that is closed is not waited for', async () => {
    const { file } = newFile()
    await using one = await attachedClient(mount.path)
    const other = await attachedClient(mount.path)
    for (const cache of [one, other]) await cache.open('f', file, 'r+')
    for (const cache of [one, other]) await cache.read('f', 0, PAGES * PAGE)
    await one.exclusive('f', 'grant', { length: 2 * PAGE })
    const next = other.exclusive('f', 'grant', { position: PAGE, length: 2 * PAGE })
    const read = other.read('f', 0, PAGE)
    expect(await soon(next)).toBe('waits')
    expect(await soon(read)).toBe('waits')
    await one.publish('grant', '1')
    expect(await read).toBe(page('1'))
    await next
    expect(await other.run('return kept.grant.bytes.toString().slice(0, 3)')).toBe('49,')
    expect(await one.tryRead('f', 0, PAGE)).toBeUndefined()
    await other.publish('grant', '2')
    expect(await one.read('f', 0, 3 * PAGE)).toBe(page('1') + page('2', 2))
    await other[Symbol.asyncDispose]()
    expect((await mount.status()).grants?.caches).toBe(1)
    await one.exclusive('f', 'grant', {})
    await one.abandon('grant')
    expect(await one.read('f', 0, 3 * PAGE)).toBe(page('1') + page('2', 2))
  })

  test('deadlocks are found across processes', async () => {
    const { file } = newFile()
    const { file: second } = newFile()
    await using one = await attachedClient(mount.path)
    await using other = await attachedClient(mount.path)
    for (const cache of [one, other]) {
      await cache.open('f', file, 'r+')
      await cache.open('s', second, 'r+')
    }
    await one.exclusive('f', 'first', { length: PAGE, holder: 'x' })
    await other.exclusive('s', 'first', { length: PAGE, holder: 'y' })
    const waiting = other.exclusive('f', 'second', { length: PAGE, holder: 'y' })
    expect(await soon(waiting)).toBe('waits')
    await expect(one.exclusive('s', 'second', { length: PAGE, holder: 'x' })).rejects.toThrow('EDEADLK')
    // Another holder of the same process waits as anybody.
    const patient = one.exclusive('s', 'third', { length: PAGE, holder: 'z' })
    expect(await soon(patient)).toBe('waits')
    await one.abandon('first')
    await waiting
    await other.abandon('first')
    await patient
  })

  test('a holder that dies has changed nothing, on either side', async () => {
    const { file, source } = newFile()
    const cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    await cache.exclusive('f', 'grant', { length: PAGE })
    await cache.run('kept.grant.bytes.fill(7)')
    await using reader = await attachedClient(mount.path)
    await reader.open('f', file)
    const read = reader.read('f', 0, PAGE)
    await using native = startClient()
    await native.run('f = os.open(file, os.O_RDONLY)', { file })
    const readNatively = native.value('os.pread(f, 4096, 0).decode()')
    await untilWaiting(mount, 1)
    expect(await soon(read)).toBe('waits')
    cache.kill('SIGKILL')
    expect(await read).toBe(page(OLD))
    expect(await readNatively).toBe(page(OLD))

    const holder = await startHolder(file, '--range', '0-4KiB')
    await holder.run(fill('x'))
    const again = reader.read('f', 0, PAGE)
    expect(await soon(again)).toBe('waits')
    process.kill(await holder.value<number>('os.getppid()'), 'SIGKILL')
    expect(await again).toBe(page(OLD))
    holder.kill('SIGKILL')
    expect(source()).toBe(page(OLD, PAGES))
  })

  test('what is asked back crosses: of the cache by a command, and of a command by the cache', async () => {
    const { file, source } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    await cache.exclusive('f', 'grant', { length: PAGE })
    await cache.run('kept.onRevoke = () => { kept.grant.bytes.fill(78); kept.published = kept.grant.publish() }')
    const revoke = (deadline: string) => samepage(['exclusive', '--revoke', '--deadline', deadline, file])
    const revoked = cache.run('await new Promise((resolve) => (kept.seen = resolve))')
    await cache.run('const then = kept.onRevoke; kept.onRevoke = () => { then(); kept.seen() }')
    expect(revoke('20s')).toMatchObject({ status: 0, stderr: '' })
    await revoked
    await cache.run('await kept.published')
    expect(source().slice(0, PAGE)).toBe(page(NEW))

    await cache.run('kept.onRevoke = undefined')
    await cache.exclusive('f', 'late', { length: PAGE })
    expect(revoke('100ms').stderr).toContain('had to be taken')
    await expect(cache.publish('late', 'x')).rejects.toThrow('ESTALE')
    expect(await cache.read('f', 0, PAGE)).toBe(page(NEW))

    const holder = await startHolder(file, '--range', '0-4KiB')
    expect(await cache.run('return await kept.f.revoke({ position: 0, length: 4096, deadlineMs: 100 })')).toBe(1)
    await holder.ended
    expect(holder.process.exitCode).toBe(121)
  })

  test('what is asked wrongly is refused; bytes that are no whole pages', async () => {
    const { file, source } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    const asked = (options: Record<string, unknown>) => cache.exclusive('f', 'wrong', options)
    await expect(asked({ position: 0, length: 0 })).rejects.toThrow('EINVAL')
    await expect(asked({ position: PAGES * PAGE, length: 1 })).rejects.toThrow('EINVAL')
    await expect(asked({ position: PAGES * PAGE - 1, length: 2 })).rejects.toThrow('EINVAL')
    await cache.open('r', file)
    await expect(cache.exclusive('r', 'wrong', { length: PAGE })).rejects.toThrow('EBADF')
    await expect(cache.open('x', path.join(below, path.basename(file)))).rejects.toThrow('EXDEV')
    await expect(cache.open('x', mount.path)).rejects.toThrow('EISDIR')
    await expect(cache.open('x', `${file}-not`)).rejects.toThrow('ENOENT')
    await expect(cache.run('kept.cache.openSync("/")')).rejects.toThrow('ERR_METHOD_NOT_SUPPORTED')
    // Bytes that are no whole pages; those beside them are as they were.
    await cache.exclusive('f', 'part', { position: PAGE + 10, length: 100 })
    await cache.publish('part', NEW)
    expect(source()).toBe(
      page(OLD).concat(OLD.repeat(10), NEW.repeat(100), OLD.repeat(PAGE - 110), page(OLD, PAGES - 2)),
    )
    await expect(cache.publish('part', 'x')).rejects.toThrow('ESTALE')
    // More holders than one process may be.
    const many = await cache.run<string[]>(
      `const asked = Array.from({ length: 70 }, () => kept.f.exclusive({ length: 4096, timeoutMs: 5000 }))
       const ends = await Promise.allSettled(asked)
       for (const { value } of ends) await value?.abandon()
       return ends.map(({ reason }) => reason?.code ?? 'granted')`,
    )
    expect(new Set(many)).toEqual(new Set(['granted', 'ETIMEDOUT', 'ENFILE']))
  })

  test('who waits for a range when his file, or his cache, is closed is told the same as without a mount', async () => {
    const { file } = newFile()
    await using holder = await attachedClient(mount.path)
    await holder.open('f', file, 'r+')
    await holder.exclusive('f', 'grant', { length: PAGE })
    for (const close of ['kept.f.close()', 'kept.cache.close()']) {
      await using cache = await attachedClient(mount.path)
      await cache.open('f', file, 'r+')
      const wanted = cache.exclusive('f', 'wanted', { length: PAGE })
      expect(await soon(wanted)).toBe('waits')
      await cache.run(`await ${close}`)
      await expect(wanted).rejects.toThrow('ECANCELED')
    }
  })

  test('what a process has no room for it does not hold', async () => {
    const { file } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    const asked = (options: Record<string, unknown>) => cache.exclusive('f', 'none', options)
    const isFree = () => samepage(['exclusive', '--no-wait', file, '--', 'cat']).status === 0
    // The mount clips it to the file, and nobody has that much memory.
    await expect(asked({ position: 0, length: 2 ** 45 })).rejects.toThrow()
    expect(isFree()).toBe(true)
    const descriptors = (count: number) => spawnSync('prlimit', ['--pid', `${cache.process.pid}`, `--nofile=${count}:`])
    expect(descriptors(3).status).toBe(0)
    await expect(asked({ length: PAGE, timeoutMs: 3000 })).rejects.toThrow('EMFILE')
    expect(isFree()).toBe(true)
    descriptors(1024)
    for (const wrong of [{ timeoutMs: 100.5 }, { timeoutMs: -3 }, { timeoutMs: Number.NaN }]) {
      await cache.exclusive('f', 'mine', { length: PAGE, ...wrong }).catch(() => {})
      await cache.run('await kept.mine?.abandon(); await kept.f.revoke({ position: 0, length: 1, deadlineMs: 0.5 })')
    }
    expect(await cache.read('f', 0, PAGE)).toBe(page(OLD))
  }, 60_000)

  test('who is let into the mount, and how far: that of another user', async () => {
    const { file } = newFile()
    fs.chmodSync(path.join(below, path.basename(file)), 0o644)
    await using cache = await attachedClient(mount.path, {}, { uid: 65534, gid: 65534 })
    await cache.open('f', file)
    expect(await cache.read('f', 0, PAGE)).toBe(page(OLD))
    await expect(cache.open('w', file, 'r+')).rejects.toThrow('EACCES')
    fs.chmodSync(path.join(below, path.basename(file)), 0o600)
    await sleep(2000)
    await expect(cache.open('g', file)).rejects.toThrow('EACCES')
  })

  test('a cache that does not answer is not overruled: nobody is granted what it has open', async () => {
    const { file } = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file)
    await cache.read('f', 0, PAGE)
    cache.kill('SIGSTOP')
    try {
      const { status, stderr } = samepage(['exclusive', file, '--', 'cat'])
      expect(status).toBe(122)
      expect(stderr).toContain(`process ${cache.process.pid}`)
    } finally {
      cache.kill('SIGCONT')
    }
    expect(await cache.read('f', 0, PAGE)).toBe(page(OLD))
    expect(samepage(['exclusive', file, '--', 'tr', OLD, NEW]).status).toBe(0)
    expect(await cache.read('f', 0, PAGE)).toBe(page(NEW))
  }, 60_000)
})

describeWith(['root', 'loop', 'xfs', 'fuse'], 'a cache whose mount ends', () => {
  for (const how of ['killed', 'unmounted'] as const)
    test(`${how}: nothing is served any more, and nothing published`, async () => {
      await using below = await loopFilesystem('xfs')
      fs.writeFileSync(`${below.path}/f`, page(OLD, PAGES))
      await using mount = await mounted(below.path, { maySuffer: true })
      const file = `${mount.path}/f`
      await using cache = await attachedClient(mount.path)
      await cache.open('f', file, 'r+')
      await cache.read('f', 0, PAGES * PAGE)
      await cache.exclusive('f', 'grant', { length: PAGE })
      const read = cache.read('f', 0, PAGE)
      expect(await soon(read)).toBe('waits')
      expect(await cache.run('return kept.cache.stats().grantedBy')).toBe('mount')
      if (how === 'killed') process.kill((await mount.status()).pid, 'SIGKILL')
      else spawnSync(process.execPath, [PROGRAM, 'umount', '--lazy', mount.path])
      if (how === 'unmounted') await cache.run('await kept.f.close()')
      await eventually(async () => expect(await cache.run('return kept.cache.stats().grantedBy')).toBe('nobody'))
      await expect(cache.publish('grant', NEW)).rejects.toThrow('ESTALE')
      await expect(read).rejects.toThrow(/ENOTCONN|ECONNABORTED|EBADF/)
      if (how === 'killed') {
        expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
        await expect(cache.read('f', PAGE, PAGE)).rejects.toThrow('ENOTCONN')
        await expect(cache.write('f', PAGE, 'x')).rejects.toThrow('ENOTCONN')
        await expect(cache.exclusive('f', 'other', { length: PAGE })).rejects.toThrow('ENOTCONN')
      }
      await expect(cache.open('g', file)).rejects.toThrow('ENOTCONN')
      expect(fs.readFileSync(`${below.path}/f`, 'latin1')).toBe(page(OLD, PAGES))
    }, 60_000)
})
