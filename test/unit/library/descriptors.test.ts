import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { PageCache } from '../../../src/index.ts'

let directory: string

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-descriptors-'))
})
afterEach(() => fs.rmSync(directory, { recursive: true }))

function write(name: string, text: string): string {
  const file = path.join(directory, name)
  fs.writeFileSync(file, text)
  return file
}

test('a thread whose cache has been closed never reads another file that has got the descriptor', async () => {
  const mine = write('mine', 'mine')
  const other = write('other', 'other')
  const cache = await PageCache.create({ memory: '1MiB' })
  const handle = cache.handle()
  // As another thread does it: all that matters is that it has not heard of the end yet.
  const remote = await PageCache.attach(handle)
  const file = await remote.open(mine)
  await cache.close()
  const taken = Array.from({ length: 40 }, () => fs.openSync(other, 'r'))
  try {
    const closed = expect.objectContaining({ code: 'ECONNRESET' })
    expect(() => file.readSync(Buffer.alloc(4), { position: 0 })).toThrow(closed)
    expect(() => file.viewSync(1, 3)).toThrow(closed)
    expect(() => file.statSync()).toThrow(closed)
  } finally {
    for (const fd of taken) fs.closeSync(fd)
    await expect(file.read(Buffer.alloc(4), { position: 0 })).rejects.toThrow()
    await file.close().catch(() => {})
    await remote.close()
  }
})

test('closing a file, and the thread’s part of the cache, gives its descriptors back', async () => {
  const name = write('file', 'text')
  const cache = await PageCache.create({ memory: '1MiB' })
  const remote = await PageCache.attach(cache.handle())
  const before = fs.readdirSync('/proc/self/fd').length
  const file = await remote.open(name)
  await file.read(Buffer.alloc(4), { position: 0 })
  await file.close()
  await expect(remote.open(path.join(directory, 'gone'))).rejects.toMatchObject({ code: 'ENOENT' })
  // Nor is the directory open in which homes would be made: its file system can be unmounted.
  expect(fs.readdirSync('/proc/self/fd').length).toBe(before)
  await remote.close()
  await cache.close()
})

test('each open for writing asks its own path, and leaves one descriptor for all of them', async () => {
  const name = write('written', 'text')
  await using cache = await PageCache.create({ memory: '1MiB' })
  await (await cache.open(name)).close()
  const reader = await cache.open(name)
  const before = fs.readdirSync('/proc/self/fd').length
  const first = await cache.open(name, 'r+')
  const second = await cache.open(name, 'r+')
  expect(fs.readdirSync('/proc/self/fd').length).toBe(before + 1)
  await first.close()
  second.writeSync(Buffer.from('T'), { position: 0 })
  await second.close()
  expect(fs.readdirSync('/proc/self/fd').length).toBe(before)
  expect(fs.readFileSync(name, 'utf8')).toBe('Text')
  await reader.close()
})
