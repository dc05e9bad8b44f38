/** A library cache that is attached to a mount: what one side has exclusively, the other keeps its hands off. Each promise of docs/exclusive.md a test. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { attachedClient } from '../support/cache-client.ts'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { KIBIBYTE, PAGE } from '../support/files.ts'
import { finish, startHolder } from '../support/holder.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const SIZE = 64 * KIBIBYTE
const OLD = 'o'
const NEW = 'N'
const SETTLED_MS = 100

const page = (letter: string, pages = 1) => letter.repeat(pages * PAGE)

const waits = (mount: Mounted, count: number) =>
  eventually(async () => expect((await mount.status()).grants?.waiting).toBe(count))

/** What it settles with, or `waits` where it has not for a while. */
const soon = (promise: Promise<unknown>): Promise<unknown> =>
  Promise.race([promise.catch((error: Error) => error.message), sleep(SETTLED_MS).then(() => 'waits')])

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a cache attached to a mount', () => {
  test('what the cache has exclusively keeps readers and writers of the mount out, until it is published', async () => {
    await using below = await loopFilesystem('xfs')
    fs.writeFileSync(`${below.path}/f`, page(OLD, 16))
    await using mount = await mounted(below.path)
    const file = `${mount.path}/f`
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    expect(await cache.read('f', 0, SIZE)).toBe(page(OLD, 16))
    await cache.exclusive('f', 'grant', { position: 0, length: 2 * PAGE })
    await using reader = startClient()
    await using writer = startClient()
    await reader.run('f = os.open(file, os.O_RDONLY)', { file })
    await writer.run('f = os.open(file, os.O_RDWR)', { file })
    expect(await reader.value('os.pread(f, 4096, 8192).decode()')).toBe(page(OLD))
    const read = reader.value('os.pread(f, 8192, 0).decode()')
    await waits(mount, 1)
    const written = writer.run(`os.pwrite(f, b'w', 0)`)
    await waits(mount, 2)
    await cache.publish('grant', NEW)
    expect(await read).toBe(page(NEW, 2))
    await written
    expect(fs.readFileSync(`${below.path}/f`, 'latin1')).toBe(`w${page(NEW, 2).slice(1)}${page(OLD, 14)}`)
  })

  test('what a command has exclusively keeps readers and writers of the cache out, hits included, until it is published', async () => {
    await using below = await loopFilesystem('xfs')
    fs.writeFileSync(`${below.path}/f`, page(OLD, 16))
    await using mount = await mounted(below.path)
    const file = `${mount.path}/f`
    await using cache = await attachedClient(mount.path)
    await cache.open('f', file, 'r+')
    expect(await cache.read('f', 0, SIZE)).toBe(page(OLD, 16))
    expect(await cache.tryRead('f', 0, SIZE)).toBe(page(OLD, 16))
    const holder = await startHolder(file, '--range', '0-8KiB')
    expect(await cache.tryRead('f', 0, PAGE)).toBeUndefined()
    expect(await cache.tryRead('f', 2 * PAGE, PAGE)).toBe(page(OLD))
    await expect(cache.read('f', 0, PAGE, { wait: false })).rejects.toThrow('EAGAIN')
    await expect(cache.write('f', PAGE, 'x', { wait: false })).rejects.toThrow('EAGAIN')
    const read = cache.read('f', PAGE, SIZE)
    const written = cache.write('f', PAGE - 1, 'w')
    expect(await soon(read)).toBe('waits')
    expect(await soon(written)).toBe('waits')
    await holder.run(`m[:8192] = b'${NEW}' * 8192`)
    expect(await finish(holder)).toBe(0)
    expect(await read).toBe(page(NEW) + page(OLD, 14))
    await written
    expect(fs.readFileSync(`${below.path}/f`, 'latin1')).toBe(`${page(NEW).slice(1)}w${page(NEW)}${page(OLD, 14)}`)
  })
})
