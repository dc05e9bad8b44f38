/** A mount of a directory on persistent memory: bytes, clones, and what is written through it. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { settle } from '../support/settled.ts'
import { cachedPages, cloneOnDax } from './rig/files.ts'
import { guestTest } from './rig/guest-test.ts'
import { startMount, status } from './rig/mounts.ts'

const PAGE = 4096
const PAGES = 1024
const [SOURCE, MOUNTPOINT] = ['/pmem/mounted', '/tmp/mounted']

guestTest(
  'a mount of files on DAX: right bytes, clones share, writes go through, and nothing is cached below',
  async (note) => {
    const content = Buffer.alloc(PAGES * PAGE)
    for (let at = 0; at < content.length; at += 8) content.writeUInt32LE(at, at)
    const alone = Buffer.from(content).reverse()
    fs.mkdirSync(SOURCE)
    fs.writeFileSync(`${SOURCE}/original`, content, { flush: true })
    fs.writeFileSync(`${SOURCE}/alone`, alone, { flush: true })
    for (const name of ['a', 'b']) cloneOnDax(`${SOURCE}/original`, `${SOURCE}/${name}`)
    await settle()
    const mount = await startMount(SOURCE, MOUNTPOINT, ['--workers', '2'])
    try {
      for (const name of ['original', 'a', 'b'])
        assert.ok(fs.readFileSync(`${MOUNTPOINT}/${name}`).equals(content), name)
      assert.ok(fs.readFileSync(`${MOUNTPOINT}/alone`).equals(alone), 'alone')
      const { homes, files, bytesRead, sharing } = await status(MOUNTPOINT)
      note(JSON.stringify({ homes, files, bytesRead }))
      assert.ok(sharing.possible)
      assert.equal(homes.homes, 1)
      assert.ok(bytesRead.fromHomes >= 2 * PAGES * PAGE, 'clones are read from the home')
      // Not in the page cache of the source, whoever asked: DAX has none.
      for (const name of ['original', 'a', 'b', 'alone']) assert.equal(cachedPages(`${SOURCE}/${name}`, PAGES), 0, name)

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
      await mount.end()
      fs.rmSync(SOURCE, { recursive: true })
    }
  },
  300_000,
)
