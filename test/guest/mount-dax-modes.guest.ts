/**
 * A mount with `--dax` of files on persistent memory that it serves itself: read where they lie, hot ones from one copy for all clones, and right whatever is written meanwhile.
 *
 * The kernel here keeps a copy of what it reads of such files (before Linux 6.6 it cannot do without) and drops it at each open: so each open reads all pages through the daemon.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StatusReport } from '../../src/daemon/status.ts'
import { clonesKeepDax } from '../../src/linux/dax.ts'
import { settle } from '../support/settled.ts'
import { runAnywhere } from './rig/affinity.ts'
import { PAGE, pageContent, writeFile } from './rig/cached.ts'
import { cachedPages, clone, cloneOnDax } from './rig/files.ts'
import { guestTest } from './rig/guest-test.ts'
import { type Mount, startMount, status } from './rig/mounts.ts'

const SOURCE = '/pmem/dax-modes'
const PAGES = 64
const CLONES = ['original', 'a', 'b']
const TEST_MS_MAX = 300_000
/** Of the clones' pages, those that are promoted when they are read over and over; the last ones take long to be sampled. */
const PROMOTED_MIN = 48

guestTest(
  'a mount with --dax auto: read where they lie, hot pages from one copy for all clones, right bytes after writes',
  (note) =>
    withMount(['--dax', 'auto', '--memory', '16MiB'], async (mount) => {
      const cold = await readCold(mount)
      assert.equal(cold.dax!.promotedBytes, cold.dax!.promotions * PAGE)
      assert.equal(cold.dax!.directPages + cold.dax!.promotions, cold.dax!.homes * PAGES)
      const hot = await readUntilPromoted(mount)
      note(JSON.stringify(hot.dax))
      // Once, whoever reads: there are no more pages than one of them has, and what one has made hot the others find.
      assert.ok(hot.dax!.promotions <= PAGES, `${hot.dax!.promotions} of ${PAGES} pages`)
      for (const name of CLONES) {
        const before = (await status(mount.mountpoint)).bytesRead.fromArena!
        expectFile(mount, name, 1)
        const read = (await status(mount.mountpoint)).bytesRead.fromArena! - before
        assert.ok(read >= PROMOTED_MIN * PAGE, `${read} bytes of ${name} come from the arena`)
      }
      nothingIsCached()
      await write(mount)
      await cutShortWhileRead(mount)
      await retire(mount)
    }),
  TEST_MS_MAX,
)

guestTest(
  'a mount with --dax direct: read where they lie, and nothing is copied to main memory',
  () =>
    withMount(['--dax', 'direct'], async (mount) => {
      await readCold(mount)
      for (let round = 0; round < 20; round++) for (const name of CLONES) expectFile(mount, name, 1)
      const { dax, bytesRead } = await status(mount.mountpoint)
      const { mode, homes, directPages, promotedBytes, promotions, memoryMax } = dax!
      assert.deepEqual(
        { mode, homes, directPages, promotedBytes, promotions, memoryMax },
        { mode: 'direct', homes: 2, directPages: 2 * PAGES, promotedBytes: 0, promotions: 0, memoryMax: undefined },
      )
      assert.equal(bytesRead.fromArena, undefined)
      nothingIsCached()
      await write(mount)
      await cutShortWhileRead(mount)
    }),
  TEST_MS_MAX,
)

for (const numa of ['replicate', 'inode'])
  guestTest(
    `a mount with --dax auto, --merge content and --numa ${numa}: files on DAX are read where they lie, and promoted near their readers`,
    (note) =>
      withMount(['--dax', 'auto', '--merge', 'content', '--memory', '32MiB', '--numa', numa], async (mount) => {
        await readCold(mount)
        const hot = await readUntilPromoted(mount)
        note(JSON.stringify({ dax: hot.dax, numa: hot.numa }))
        assert.equal(hot.merge!.bytesLoaded, 0, 'nothing is held for its content')
        assert.ok(hot.dax!.directPages >= 0)
        const onNodes = Object.values(hot.numa!.bytesByNode).reduce((sum, bytes) => sum + bytes, 0)
        assert.ok(onNodes >= hot.dax!.promotedBytes + hot.numa!.replicaBytes)
        for (const name of CLONES) expectFile(mount, name, 1)
        nothingIsCached()
      }),
    TEST_MS_MAX,
  )

/** A family of three clones, and a file that shares with nobody, in a mount that serves them itself. */
async function withMount(args: readonly string[], body: (mount: Mount) => Promise<void>): Promise<void> {
  runAnywhere()
  fs.mkdirSync(SOURCE)
  try {
    makeFamily()
    writeFile(`${SOURCE}/alone`, 2, PAGES)
    await settle()
    const mount = await startMount(SOURCE, '/tmp/dax-modes', ['--no-passthrough', '--workers', '2', ...args])
    try {
      await body(mount)
    } finally {
      await mount.end()
    }
  } finally {
    fs.rmSync(SOURCE, { recursive: true })
  }
}

function makeFamily(file = 1): void {
  writeFile(`${SOURCE}/original`, file, PAGES)
  for (const name of ['a', 'b']) cloneOnDax(`${SOURCE}/original`, `${SOURCE}/${name}`)
}

/** All files once: all pages come from homes, where they lie, but for the few that are hot already. */
async function readCold(mount: Mount): Promise<StatusReport> {
  for (const name of CLONES) expectFile(mount, name, 1)
  expectFile(mount, 'alone', 2)
  const report = await status(mount.mountpoint)
  // A file that nobody shares has a home as well, where that does not cost it DAX.
  const homes = report.dax!.mode === 'direct' || clonesKeepDax() ? 2 : 1
  assert.equal(report.dax!.homes, homes)
  assert.equal(report.bytesRead.fromFiles, homes === 2 ? 0 : PAGES * PAGE)
  const pages = report.dax!.directHits + (report.bytesRead.fromArena ?? 0) / PAGE
  assert.ok(pages >= (2 + homes) * PAGES, `${pages} pages were read`)
  assert.ok(report.dax!.directHits > 2 * PAGES)
  return report
}

async function readUntilPromoted(mount: Mount): Promise<StatusReport> {
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 10; i++) for (const name of CLONES) expectFile(mount, name, 1)
    const report = await status(mount.mountpoint)
    if (report.dax!.promotedBytes >= PROMOTED_MIN * PAGE) return report
  }
  throw new Error(`too few were promoted: ${JSON.stringify((await status(mount.mountpoint)).dax)}`)
}

/** Copy on write in both directions, while the files are open for reading; at last all are as they were. */
async function write(mount: Mount): Promise<void> {
  for (const name of ['a', 'original']) {
    const path = `${mount.mountpoint}/${name}`
    const reader = fs.openSync(path, 'r')
    const writer = fs.openSync(path, 'r+')
    const wanted = wholeFile(1)
    try {
      expectBytes(reader, wanted, name)
      for (const page of [0, 7, PAGES - 1]) {
        const bytes = pageContent(9, page)
        fs.writeSync(writer, bytes, 0, PAGE, page * PAGE)
        bytes.copy(wanted, page * PAGE)
        // In part, over the border of two pages.
        fs.writeSync(writer, Buffer.alloc(100, 'x'), 0, 100, Math.min(page + 1, PAGES - 1) * PAGE - 50)
        wanted.fill('x', Math.min(page + 1, PAGES - 1) * PAGE - 50, Math.min(page + 1, PAGES - 1) * PAGE + 50)
      }
      for (const fd of [reader, writer]) expectBytes(fd, wanted, `${name}, written`)
      assert.ok(fs.readFileSync(`${SOURCE}/${name}`).equals(wanted), `${name} below`)
      // At the end of a page: the kernel here leaves the rest of one that is shared as it was, also without a mount.
      fs.ftruncateSync(writer, 20 * PAGE)
      for (const fd of [reader, writer]) expectBytes(fd, wanted.subarray(0, 20 * PAGE), `${name}, cut`)
      fs.ftruncateSync(writer, PAGES * PAGE)
      wanted.fill(0, 20 * PAGE)
      assert.ok(fs.readFileSync(`${SOURCE}/${name}`).equals(wanted), `${name}, longer again, below`)
      for (const fd of [reader, writer]) expectBytes(fd, wanted, `${name}, longer again`)
    } finally {
      fs.closeSync(reader)
      fs.closeSync(writer)
    }
    for (const other of CLONES) if (other !== name) expectFile(mount, other, 1)
    await settle()
    assert.ok(fs.readFileSync(path).equals(wanted), `${name}, opened anew`)
    clone(`${SOURCE}/b`, `${SOURCE}/${name}`)
    await sleep(1100)
    for (const each of CLONES) expectFile(mount, each, 1)
  }
}

/** Files are cut short and made anew below the mount, and through it, while processes read them: nobody touches what is not there. */
async function cutShortWhileRead(mount: Mount): Promise<void> {
  const stop = '/tmp/dax-modes-stop'
  const script = `while [ ! -e ${stop} ]; do cat ${mount.mountpoint}/a ${mount.mountpoint}/b > /dev/null || exit 1; done`
  const readers = [0, 1].map(() => spawn('sh', ['-c', script], { stdio: ['ignore', 'ignore', 'inherit'] }))
  const ends = readers.map((reader) => once(reader, 'close'))
  for (let round = 0; round < 8; round++) {
    const directory = round % 2 === 0 ? SOURCE : mount.mountpoint
    for (const name of ['a', 'b']) {
      fs.truncateSync(`${directory}/${name}`, 10 * PAGE + 1)
      await sleep(50)
      clone(`${SOURCE}/original`, `${SOURCE}/${name}`)
      await sleep(50)
    }
  }
  fs.writeFileSync(stop, '')
  assert.deepEqual(await Promise.all(ends), [
    [0, null],
    [0, null],
  ])
  fs.rmSync(stop)
  await sleep(1100)
  for (const name of CLONES) expectFile(mount, name, 1)
  assert.equal((await status(mount.mountpoint)).workers.restarts, 0)
}

/** When the family is gone its home is, and with it the window and the copies; the next one has its place. */
async function retire(mount: Mount): Promise<void> {
  for (const name of [...CLONES, 'alone']) fs.rmSync(`${mount.mountpoint}/${name}`)
  for (let tries = 0; (await status(mount.mountpoint)).dax!.homes > 0; tries++) {
    assert.ok(tries < 300, 'homes of files that are gone are kept')
    await sleep(200)
  }
  const { directPages, promotedBytes } = (await status(mount.mountpoint)).dax!
  assert.deepEqual({ directPages, promotedBytes }, { directPages: 0, promotedBytes: 0 })
  makeFamily(5)
  await settle()
  for (let i = 0; i < 10; i++) for (const name of CLONES) expectFile(mount, name, 5)
  assert.equal((await status(mount.mountpoint)).dax!.homes, 1)
}

function wholeFile(file: number): Buffer {
  return Buffer.concat(Array.from({ length: PAGES }, (_, page) => pageContent(file, page)))
}

const contents = new Map<number, Buffer>()

function expectFile({ mountpoint }: Mount, name: string, file: number): void {
  if (!contents.has(file)) contents.set(file, wholeFile(file))
  assert.ok(fs.readFileSync(`${mountpoint}/${name}`).equals(contents.get(file)!), `${name} through the mount`)
}

/** All that `fd` is open on. */
function expectBytes(fd: number, wanted: Buffer, what: string): void {
  const bytes = Buffer.alloc(wanted.length + PAGE)
  const count = fs.readSync(fd, bytes, 0, bytes.length, 0)
  assert.equal(count, wanted.length, what)
  const wrong = wanted.findIndex((byte, at) => bytes[at] !== byte)
  assert.ok(wrong < 0, `${what}: byte ${wrong} is ${bytes[wrong]}, not ${wanted[wrong]}`)
}

/** Not in the page cache of the source, whoever asked: DAX has none. */
function nothingIsCached(): void {
  for (const name of [...CLONES, 'alone']) assert.equal(cachedPages(`${SOURCE}/${name}`, PAGES), 0, name)
}
