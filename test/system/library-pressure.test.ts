/** A cache whose process has less memory than the cache was made for: it gives way to the cgroup's limit before the kernel ends the process. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { LIBRARY } from '../support/cache-worker.ts'
import { memoryCgroup } from '../support/cgroups.ts'
import { MEBIBYTE, noise } from '../support/files.ts'
import { describeWith } from '../support/requires.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-pressure-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

const FILE = path.join(directory, 'file')
const SIZE = 256 * MEBIBYTE

/** Fills a cache of 256 MiB, for some seconds, or without its thread ever being free. */
const SCRIPT = `
  import { setImmediate as nextTurn } from 'node:timers/promises'
  import { PageCache } from '${LIBRARY}'
  const [path, how] = process.argv.slice(2)
  const cache = await PageCache.create({ memory: ${SIZE} })
  const file = await cache.open(path, 'r+')
  const buffer = Buffer.alloc(2 ** 20)
  let least = Infinity
  for (let round = 0; round < 3; round++)
    for (let position = 0; position < ${SIZE}; position += buffer.length) {
      if (how === 'read') await file.read(buffer, { position })
      if (how === 'readSync') file.readSync(buffer, { position })
      if (how === 'writeSync') file.writeSync(buffer, { position })
      if (how === 'publish') {
        const grant = await file.exclusive({ position, length: buffer.length })
        await grant.publish()
      }
      least = Math.min(least, cache.stats().memoryMax)
    }
  console.log(least)
  await file.close()
  await cache.close()`

describeWith(['memory-cgroup', 'root'], 'a memory cgroup with less than the cache was made for', () => {
  fs.writeFileSync(FILE, '')
  for (let at = 0; at < SIZE; at += 32 * MEBIBYTE) fs.appendFileSync(FILE, noise(32 * MEBIBYTE, at))
  fs.writeFileSync(path.join(directory, 'fill.mjs'), SCRIPT)

  test.each(['read', 'readSync', 'writeSync', 'publish'])('%s', async (how) => {
    await using group = memoryCgroup('limited')
    group.limit(192 * MEBIBYTE)
    const [program = '', ...args] = [...group.wrapper, process.execPath, path.join(directory, 'fill.mjs'), FILE, how]
    // By itself it shrinks for the limit alone, or the machine is short of memory besides.
    const least = Number(execFileSync(program, args, { encoding: 'utf8' }))
    expect(least).toBeLessThan(SIZE)
    expect(least).toBeGreaterThanOrEqual(SIZE / 8)
  })
})
