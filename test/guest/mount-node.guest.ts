/** Two mounts of one source, each on a node: what is read through either lies there, whoever reads. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StatusReport } from '../../src/daemon/status.ts'
import { close, O_RDONLY, open } from '../../src/linux/file.ts'
import { type Placement, placePages } from '../../src/linux/page-placement.ts'
import { settle } from '../support/settled.ts'
import { runOn } from './rig/affinity.ts'
import { clone } from './rig/files.ts'
import { guestTest } from './rig/guest-test.ts'
import { descriptorsOf, type Mount, servingProcess, startMount, status, withXfs } from './rig/mounts.ts'

const PAGES = 1024
const BYTES = PAGES * 4096
const WAIT_MS = 60_000

guestTest(
  'mounts of one source keep its pages each on its own node',
  async (note) => {
    const source = '/tmp/source'
    await withXfs(source, async () => {
      const content = Buffer.alloc(BYTES, 'content of an image ')
      fs.writeFileSync(`${source}/image`, content)
      for (const name of ['a', 'b']) clone(`${source}/image`, `${source}/${name}`)
      execFileSync('sync')
      await settle()
      const mounts = await Promise.all([1, 2].map((node) => mountOn(node, source)))
      try {
        runOn(0)
        for (const { node, mountpoint, files } of mounts) {
          files.push(fs.openSync(`${mountpoint}/a`, 'r'), fs.openSync(`${mountpoint}/b`, 'r'))
          for (const file of files) assert.ok(read(file).equals(content))
          assert.deepEqual(placementOf(mountpoint, node), { looked: PAGES, elsewhere: 0, moved: 0 })
        }
        // Taken from the memory of another node, as a reader there would have them: they are found and moved.
        const [{ node, mountpoint }] = mounts as [NodeMount, NodeMount]
        const before = await nearStatus(mountpoint)
        readElsewhere(mountpoint)
        assert.equal(before.node, node)
        const end = Date.now() + WAIT_MS
        while ((await nearStatus(mountpoint)).moved === before.moved && Date.now() < end) await sleep(200)
        const after = await nearStatus(mountpoint)
        note(`${after.moved} of ${PAGES} pages moved to node ${node}; ${after.readAhead} read ahead`)
        // Not all: some were still in memory when the others were dropped, and the kernel moves none that is busy.
        assert.ok(after.moved > before.moved, JSON.stringify(after))
        const { looked, elsewhere } = placementOf(mountpoint, node)
        assert.ok(looked === PAGES && elsewhere < PAGES / 16, `${elsewhere} of ${looked}`)
      } finally {
        for (const mount of mounts) {
          for (const file of mount.files) fs.closeSync(file)
          await mount.end()
        }
      }
    })
  },
  300_000,
)

interface NodeMount extends Mount {
  readonly node: number
  /** Open through it. */
  readonly files: number[]
}

async function mountOn(node: number, source: string): Promise<NodeMount> {
  const args = ['--node', String(node), '--read-ahead', '1MiB', '--workers', '2']
  return { node, files: [], ...(await startMount(source, `/tmp/node-${node}`, args)) }
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
  for (const { link, target } of descriptorsOf(servingProcess(mountpoint)))
    if (/\/#\d+ \(deleted\)$/.test(target)) return link
  throw new Error(`${mountpoint} has no home`)
}

async function nearStatus(mountpoint: string): Promise<NonNullable<StatusReport['near']>> {
  const { near } = await status(mountpoint)
  assert.ok(near !== undefined)
  return near
}
