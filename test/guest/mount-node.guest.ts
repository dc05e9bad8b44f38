/** Two mounts of one source, each on a node: what is read through either lies there, whoever reads. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ask, socketPath } from '../../src/daemon/control-socket.ts'
import type { StatusReport } from '../../src/daemon/status.ts'
import { cloneFile } from '../../src/linux/clone.ts'
import { close, O_RDONLY, open } from '../../src/linux/file.ts'
import { type Placement, placePages } from '../../src/linux/page-placement.ts'
import { runOn } from './rig/affinity.ts'
import { guestTest } from './rig/guest-test.ts'

const PAGES = 1024
const BYTES = PAGES * 4096
const PROGRAM = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
const WAIT_MS = 60_000

guestTest(
  'mounts of one source keep its pages each on its own node',
  async (note) => {
    const source = '/tmp/source'
    await withXfs(source, async () => {
      const content = Buffer.alloc(BYTES, 'content of an image ')
      fs.writeFileSync(`${source}/image`, content)
      for (const name of ['a', 'b']) {
        const [from, to] = [fs.openSync(`${source}/image`, 'r'), fs.openSync(`${source}/${name}`, 'w')]
        assert.equal(cloneFile(to, from), 0)
        fs.closeSync(from)
        fs.closeSync(to)
      }
      execFileSync('sync')
      await sleep(100)
      const mounts = await Promise.all([1, 2].map((node) => mountOn(node, source)))
      try {
        runOn(0)
        for (const { node, mountpoint, files } of mounts) {
          files.push(fs.openSync(`${mountpoint}/a`, 'r'), fs.openSync(`${mountpoint}/b`, 'r'))
          for (const file of files) assert.ok(read(file).equals(content))
          assert.deepEqual(placementOf(mountpoint, node), { looked: PAGES, elsewhere: 0, moved: 0 })
        }
        // Taken from the memory of another node, as a reader there would have them: they are found and moved.
        const [{ node, mountpoint }] = mounts as [Mount, Mount]
        readElsewhere(mountpoint)
        const before = await status(mountpoint)
        assert.equal(before.node, node)
        const end = Date.now() + WAIT_MS
        while ((await status(mountpoint)).moved === before.moved && Date.now() < end) await sleep(200)
        const after = await status(mountpoint)
        note(`${after.moved} of ${PAGES} pages moved to node ${node}; ${after.readAhead} read ahead`)
        // Not all: some were still in memory when the others were dropped, and the kernel moves none that is busy.
        assert.ok(after.moved > before.moved, JSON.stringify(after))
        const { looked, elsewhere } = placementOf(mountpoint, node)
        assert.ok(looked === PAGES && elsewhere < PAGES / 16, `${elsewhere} of ${looked}`)
      } finally {
        for (const { mountpoint, files, child } of mounts) {
          for (const file of files) fs.closeSync(file)
          child.kill('SIGTERM')
          await once(child, 'close')
          assert.equal(fs.readdirSync(mountpoint).length, 0)
        }
      }
    })
  },
  300_000,
)

interface Mount {
  readonly node: number
  readonly mountpoint: string
  readonly child: ChildProcess
  /** Open through it. */
  readonly files: number[]
}

async function mountOn(node: number, source: string): Promise<Mount> {
  const mountpoint = `/tmp/node-${node}`
  fs.mkdirSync(mountpoint, { recursive: true })
  const args = [PROGRAM, 'mount', '--node', String(node), '--read-ahead', '1MiB', '--workers', '2', source, mountpoint]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  await Promise.race([
    once(child.stdout!, 'data'),
    once(child, 'close').then(() => {
      throw new Error(`no mount at ${mountpoint}`)
    }),
  ])
  return { node, mountpoint, child, files: [] }
}

function read(fd: number): Buffer {
  const bytes = Buffer.alloc(BYTES)
  for (let at = 0; at < BYTES; at += 1 << 20) fs.readSync(fd, bytes, at, 1 << 20, at)
  return bytes
}

/** Where the pages of the one home of a mount lie. */
function placementOf(mountpoint: string, node: number): Placement {
  const fd = open(homeOf(mountpoint), O_RDONLY)
  try {
    return placePages(fd, 0, new Uint8Array(PAGES).fill(1), node)
  } finally {
    close(fd)
  }
}

/** Drops the pages of the one home of a mount, and has them read by this thread, on its own node. */
function readElsewhere(mountpoint: string): void {
  fs.writeFileSync('/proc/sys/vm/drop_caches', '1')
  const fd = open(homeOf(mountpoint), O_RDONLY)
  try {
    read(fd)
  } finally {
    close(fd)
  }
}

/** A path by which the home that the serving process of a mount has open can be opened: it has no name of its own. */
function homeOf(mountpoint: string): string {
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = readText(`/proc/${pid}/cmdline`)
    if (!command.includes('serving-process') || !command.includes(mountpoint)) continue
    for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
      const link = path.join(`/proc/${pid}/fd`, fd)
      if (/\/#\d+ \(deleted\)$/.test(fs.readlinkSync(link))) return link
    }
  }
  throw new Error(`${mountpoint} has no home`)
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

/** Asked of the mount itself: to start `samepage status` takes too long here. */
async function status(mountpoint: string): Promise<NonNullable<StatusReport['near']>> {
  const report = await ask<StatusReport>(socketPath(mountpoint), '/status')
  assert.ok(report?.near !== undefined)
  return report.near
}

/** A file system without DAX, which has a page cache, in a file of the one with it. */
async function withXfs(mountpoint: string, body: () => Promise<void>): Promise<void> {
  fs.mkdirSync(mountpoint, { recursive: true })
  const image = '/pmem/xfs'
  execFileSync('truncate', ['-s', '320M', image])
  execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image])
  execFileSync('mount', ['-t', 'xfs', '-o', 'loop', image, mountpoint])
  try {
    await body()
  } finally {
    execFileSync('umount', [mountpoint])
    fs.rmSync(image)
  }
}
