/** A mount of a directory on persistent memory: bytes, clones, and what is written through it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ask, socketPath } from '../../src/daemon/control-socket.ts'
import type { StatusReport } from '../../src/daemon/status.ts'
import { cloneFile } from '../../src/linux/clone.ts'
import { isDax } from '../../src/linux/dax.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGE = 4096
const PAGES = 1024
const PROGRAM = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
const [SOURCE, MOUNTPOINT] = ['/pmem/mounted', '/tmp/mounted']

guestTest(
  'a mount of files on DAX: right bytes, clones share, writes go through, and nothing is cached below',
  async (note) => {
    const content = Buffer.alloc(PAGES * PAGE)
    for (let at = 0; at < content.length; at += 8) content.writeUInt32LE(at, at)
    const alone = Buffer.from(content).reverse()
    fs.mkdirSync(SOURCE)
    fs.mkdirSync(MOUNTPOINT)
    fs.writeFileSync(`${SOURCE}/original`, content, { flush: true })
    fs.writeFileSync(`${SOURCE}/alone`, alone, { flush: true })
    for (const name of ['a', 'b']) {
      const [from, to] = [fs.openSync(`${SOURCE}/original`, 'r'), fs.openSync(`${SOURCE}/${name}`, 'w')]
      assert.equal(cloneFile(to, from), 0)
      fs.fsyncSync(to)
      assert.ok(isDax(to))
      fs.closeSync(from)
      fs.closeSync(to)
    }
    // A file that was changed just now does not share yet.
    await sleep(100)
    const child = spawn(process.execPath, [PROGRAM, 'mount', '--workers', '2', SOURCE, MOUNTPOINT], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(child, 'close')
    try {
      await Promise.race([
        once(child.stdout, 'data'),
        ended.then(() => {
          throw new Error('no mount')
        }),
      ])
      for (const name of ['original', 'a', 'b'])
        assert.ok(fs.readFileSync(`${MOUNTPOINT}/${name}`).equals(content), name)
      assert.ok(fs.readFileSync(`${MOUNTPOINT}/alone`).equals(alone), 'alone')
      const status = (await ask<StatusReport>(socketPath(MOUNTPOINT), '/status'))!
      note(JSON.stringify({ homes: status.homes, files: status.files, bytesRead: status.bytesRead }))
      assert.ok(status.sharing.possible)
      assert.equal(status.homes.homes, 1)
      assert.ok(status.bytesRead.fromHomes >= 2 * PAGES * PAGE, 'clones are read from the home')
      // Not in the page cache of the source, whoever asked: DAX has none.
      for (const name of ['original', 'a', 'b', 'alone']) assert.equal(cachedPages(`${SOURCE}/${name}`), 0, name)

      const page = Buffer.alloc(PAGE, 'new')
      const fd = fs.openSync(`${MOUNTPOINT}/a`, 'r+')
      fs.writeSync(fd, page, 0, PAGE, 7 * PAGE)
      fs.fsyncSync(fd)
      const changed = Buffer.from(content)
      page.copy(changed, 7 * PAGE)
      const seen = Buffer.alloc(content.length)
      assert.equal(fs.readSync(fd, seen, 0, seen.length, 0), seen.length)
      assert.ok(seen.equals(changed), 'what was written is read')
      fs.closeSync(fd)
      for (const directory of [SOURCE, MOUNTPOINT]) {
        assert.ok(fs.readFileSync(`${directory}/a`).equals(changed), `${directory}/a`)
        for (const name of ['original', 'b']) assert.ok(fs.readFileSync(`${directory}/${name}`).equals(content), name)
      }
    } finally {
      child.kill('SIGTERM')
      await ended
      fs.rmSync(SOURCE, { recursive: true })
    }
    assert.equal(fs.readdirSync(MOUNTPOINT).length, 0)
  },
  300_000,
)

function cachedPages(file: string): number {
  const fd = fs.openSync(file, 'r')
  try {
    return residentPages(fd, 0, PAGES * PAGE, new Uint8Array(PAGES))
  } finally {
    fs.closeSync(fd)
  }
}
