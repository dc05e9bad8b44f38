/** Attached caches in trouble: no space where something is published, caches that are stopped or cut off, many files opened at a time. What docs/exclusive.md promises holds all the same. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { attachedClient, type CacheClient } from '../support/cache-client.ts'
import { startClient } from '../support/client.ts'
import { eventually, soon } from '../support/eventually.ts'
import { PAGE } from '../support/files.ts'
import { finish, startHolder } from '../support/holder.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

const OLD = 'o'
const NEW = 'N'
const MIB = 1 << 20

const page = (letter: string, pages = 1) => letter.repeat(pages * PAGE)

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a publish without space', () => {
  const PAGES = (2 * MIB) / PAGE

  /** Takes all space that there is, but for less than a publish needs. */
  function fillUp(directory: string): void {
    for (let bytes = 256 * MIB, i = 0; bytes >= MIB; )
      try {
        execFileSync('fallocate', ['-l', String(bytes), path.join(directory, `filler-${i++}`)], { stdio: 'ignore' })
      } catch {
        bytes /= 2
      }
  }

  function makeSpace(directory: string): void {
    for (const name of fs.readdirSync(directory)) if (name.startsWith('filler-')) fs.rmSync(path.join(directory, name))
  }

  for (const readers of ['wait', 'last-published'] as const)
    test(`readers: ${readers}; all is as it was, the holder still holds, abandons or publishes later`, async () => {
      await using below = await loopFilesystem('xfs', { size: 320 * MIB })
      const source = path.join(below.path, 'f')
      fs.writeFileSync(source, page(OLD, PAGES))
      // What is written to blocks that a clone shares takes new ones.
      execFileSync('cp', ['--reflink=always', source, path.join(below.path, 'clone')])
      await using mount = await mounted(below.path)
      const file = `${mount.path}/f`
      await using holder = await attachedClient(mount.path, { memory: '32MiB' })
      await using cache = await attachedClient(mount.path, { memory: '32MiB' })
      await holder.open('f', file, 'r+')
      await cache.open('f', file, 'r+')
      expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
      await using writer = startClient()
      await using reader = startClient()
      for (const program of [writer, reader]) await program.run('f = os.open(file, os.O_RDWR)', { file })
      await holder.exclusive('f', 'grant', { readers })
      fillUp(below.path)
      await expect(holder.publish('grant', NEW)).rejects.toThrow('ENOSPC')
      expect(fs.readFileSync(source, 'latin1')).toBe(page(OLD, PAGES))

      // It is still somebody's.
      const write = writer.run(`os.pwrite(f, b'w', 0)`)
      expect(await soon(write)).toBe('waits')
      const read = cache.read('f', 0, PAGES * PAGE)
      if (readers === 'last-published') {
        expect(await read).toBe(page(OLD, PAGES))
        expect(await cache.tryRead('f', 0, PAGE)).toBe(page(OLD))
        expect(await reader.value('os.pread(f, 4096, 4096).decode()')).toBe(page(OLD))
      } else {
        expect(await soon(read)).toBe('waits')
        expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
      }
      await expect(cache.write('f', PAGE, 'x', { wait: false })).rejects.toThrow('EAGAIN')
      await expect(cache.exclusive('f', 'other', { wait: false })).rejects.toThrow('EAGAIN')
      await expect(holder.publish('grant', NEW)).rejects.toThrow('ENOSPC')

      makeSpace(below.path)
      if (readers === 'wait') {
        await holder.abandon('grant')
        await write
        expect((await read).slice(1)).toBe(page(OLD, PAGES).slice(1))
        expect(fs.readFileSync(source, 'latin1')).toBe(`w${page(OLD, PAGES).slice(1)}`)
      } else {
        await holder.publish('grant', NEW)
        expect((await cache.read('f', PAGE, (PAGES - 1) * PAGE)).replaceAll(NEW, '')).toBe('')
        await write
        expect(fs.readFileSync(source, 'latin1')).toBe(`w${page(NEW, PAGES).slice(1)}`)
      }
      expect(fs.readFileSync(path.join(below.path, 'clone'), 'latin1')).toBe(page(OLD, PAGES))
      expect((await mount.status()).grants).toMatchObject({ held: [], wanted: 0, waiting: 0, caches: 2 })
    }, 120_000)
})

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a cache that does not hear', () => {
  const PAGES = 16
  let filesystem: Awaited<ReturnType<typeof loopFilesystem>>
  let mount: Mounted
  let names = 0

  beforeAll(async () => {
    filesystem = await loopFilesystem('xfs')
    mount = await mounted(filesystem.path)
  }, 60_000)
  afterAll(async () => {
    await mount[Symbol.asyncDispose]()
    await filesystem[Symbol.asyncDispose]()
  }, 60_000)

  function newFile(): string {
    const name = `file-${names++}`
    fs.writeFileSync(path.join(filesystem.path, name), page(OLD, PAGES))
    return path.join(mount.path, name)
  }

  /** Resolves when the kernel has stopped it. */
  async function stop({ process }: CacheClient): Promise<void> {
    process.kill('SIGSTOP')
    await eventually(() => {
      expect(fs.readFileSync(`/proc/${process.pid}/stat`, 'utf8').split(') ')[1]).toMatch(/^T/)
      return Promise.resolve()
    })
  }

  const fill = (letter: string) => `m[:] = b'${letter}' * len(m)`

  test('stopped for less than the mount waits: who wants it gets it when the cache has woken, and nobody sees old bytes after that', async () => {
    const [file, other] = [newFile(), newFile()]
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file)
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
    await stop(cache)
    // Of files that it has not open it is not asked.
    expect(samepage(['exclusive', other, '--', 'tr', OLD, NEW]).status).toBe(0)
    const asked = startHolder(file, '--range', '0-8KiB')
    expect(await soon(asked)).toBe('waits')
    // What it does first when it wakes comes before or after it has heard.
    const early = cache.read('f', 0, 2 * PAGE)
    cache.kill('SIGCONT')
    const holder = await asked
    await holder.run(fill(NEW))
    expect(await finish(holder)).toBe(0)
    expect([page(OLD, 2), page(NEW, 2)]).toContain(await early)
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(NEW, 2) + page(OLD, PAGES - 2))
  })

  test('stopped for longer than somebody wants to wait: the time is over for him, and what he wanted is nobody’s', async () => {
    const file = newFile()
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file)
    await cache.read('f', 0, PAGE)
    await stop(cache)
    try {
      const { status, stderr } = samepage(['exclusive', '--timeout', '300ms', file, '--', 'tr', OLD, NEW])
      expect({ status, stderr }).toMatchObject({
        status: 124,
        stderr: expect.stringContaining('does not give the range up'),
      })
      expect(await mount.status()).toMatchObject({ grants: { held: [], wanted: 0 } })
    } finally {
      cache.kill('SIGCONT')
    }
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(OLD, PAGES))
    expect(samepage(['exclusive', '--timeout', '20s', file, '--', 'tr', OLD, NEW]).status).toBe(0)
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(NEW, PAGES))
  })

  test('stopped while it is to be published: it is not, the holder still holds, and publishes when the cache has woken', async () => {
    const file = newFile()
    await using cache = await attachedClient(mount.path)
    await using holder = await attachedClient(mount.path)
    await cache.open('f', file)
    await holder.open('f', file, 'r+')
    await cache.read('f', 0, PAGES * PAGE)
    await holder.exclusive('f', 'grant', { readers: 'last-published' })
    await stop(cache)
    try {
      await expect(holder.publish('grant', NEW)).rejects.toThrow('EBUSY')
      expect(await holder.read('f', 0, PAGE)).toBe(page(OLD))
    } finally {
      cache.kill('SIGCONT')
    }
    expect(await cache.read('f', 0, PAGE)).toBe(page(OLD))
    await expect(samepage(['exclusive', '--no-wait', file, '--', 'cat']).status).toBe(123)
    await holder.publish('grant', NEW)
    expect(await cache.read('f', 0, PAGES * PAGE)).toBe(page(NEW, PAGES))
  }, 60_000)

  test('stopped, and told more than its socket holds: it is cut off, waited for until it has woken, and shows nothing any more then', async () => {
    const file = newFile()
    await using cache = await attachedClient(mount.path)
    await using other = await attachedClient(mount.path)
    await cache.open('f', file)
    await other.open('f', file, 'r+')
    await cache.read('f', 0, PAGES * PAGE)
    await stop(cache)
    try {
      // Each of them asks the cache, and takes that back: two lines.
      await other.run(
        `for (let i = 0; i < 1500; i++) {
           const giveUp = new AbortController()
           const asked = kept.f.exclusive({ length: 4096, signal: giveUp.signal })
           await new Promise(setImmediate)
           giveUp.abort()
           await asked.then((grant) => grant.abandon(), () => {})
         }`,
      )
      await expect(other.exclusive('f', 'grant', { length: PAGE })).rejects.toThrow('EBUSY')
    } finally {
      cache.kill('SIGCONT')
    }
    await eventually(async () => expect(await cache.run('return kept.cache.stats().grantedBy')).toBe('nobody'))
    expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
    await expect(cache.read('f', 0, PAGE)).rejects.toThrow('ENOTCONN')
    await eventually(async () => expect((await mount.status()).grants?.caches).toBe(1))
    await other.exclusive('f', 'grant', { length: PAGE })
    await other.publish('grant', NEW)
    expect(await other.read('f', 0, PAGE)).toBe(page(NEW))
    expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
  }, 120_000)

  test('files that are opened at the same time are each asked for: none is taken for another', async () => {
    const files = Array.from({ length: 60 }, newFile)
    await using cache = await attachedClient(mount.path)
    for (let round = 0; round < 5; round++) {
      await cache.run(
        `kept.all = await Promise.all(files.map((file) => kept.cache.open(file)))
         for (const file of kept.all) await file.read(Buffer.alloc(4096), { position: 0 })`,
        { files },
      )
      await using other = await attachedClient(mount.path)
      await other.run(
        `const all = await Promise.all(files.map((file) => kept.cache.open(file, 'r+')))
         const grants = await Promise.all(all.map((file) => file.exclusive({ length: 4096 })))
         for (const [i, grant] of grants.entries()) {
           grant.bytes.fill(letter.charCodeAt(0))
           grant.bytes[0] = 65 + i
           await grant.publish()
         }`,
        { files, letter: String(round) },
      )
      const seen = await cache.run<string[]>(
        `const seen = []
         for (const file of kept.all) {
           const buffer = Buffer.alloc(4096)
           await file.read(buffer, { position: 0 })
           seen.push(buffer.toString('latin1', 0, 2))
           await file.close()
         }
         return seen`,
      )
      expect(seen).toEqual(files.map((_, i) => String.fromCharCode(65 + i) + round))
    }
  }, 120_000)
})
