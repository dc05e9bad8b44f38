/**
 * A mount that serves files from its arena, near whoever reads them: `--merge content --numa`. Readers are processes bound to a node; where each page lies is read off the arena itself, in the
 * serving process's memory.
 *
 * The kernel here keeps a copy of what it reads of such files (before Linux 6.6 it cannot do without) and drops it at each open: so each run of a reader reads all pages through the daemon.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { settle } from '../support/settled.ts'
import { runAnywhere } from './rig/affinity.ts'
import { PAGE, pageContent, writeFile } from './rig/cached.ts'
import { guestTest } from './rig/guest-test.ts'
import { type Mount, servingProcess, startMount, status, withXfs } from './rig/mounts.ts'

const SOURCE = '/tmp/numa-source'
const PAGES = 64
const TEST_MS_MAX = 300_000
const READERS = [0, 1, 2]

guestTest(
  'a mount with --numa replicate: pages on the node of who reads, replicas of what is read often, none of what was written',
  (note) =>
    withNumaMount('replicate', async ({ mountpoint }) => {
      for (const node of READERS) {
        writeFile(`${SOURCE}/of-${node}`, node, PAGES)
      }
      await settle()
      for (const node of READERS) readOn(node, mountpoint, `of-${node}`)
      for (const node of READERS) assert.deepEqual(placement(mountpoint, node), new Array(PAGES).fill([node]))
      const loaded = await status(mountpoint)
      const bytes = PAGES * PAGE
      assert.deepEqual(loaded.numa!.bytesByNode, { 0: bytes, 1: bytes, 2: bytes })
      assert.equal(loaded.numa!.replicasMade, 0)

      // From afar, until all of it is near by: copied in memory, not loaded again.
      await readUntilReplicated(mountpoint, ['of-0'], PAGES)
      assert.deepEqual(placement(mountpoint, 0), new Array(PAGES).fill([0, 2]))
      const made = await status(mountpoint)
      assert.equal(made.numa!.replicaBytes, PAGES * PAGE)
      assert.equal(made.merge!.bytesLoaded, loaded.merge!.bytesLoaded)
      const far = await farShare(mountpoint, () => readOn(2, mountpoint, 'of-0', 4))
      note(`${made.numa!.replicasMade} replicas; of what node 2 then read ${Math.round(far * 100)}% lay elsewhere`)
      assert.ok(far < 0.5, `${far} was read from afar`)

      // Written through the mount while it is open: no reader gets what it was before.
      const reader = fs.openSync(`${mountpoint}/of-0`, 'r')
      const writer = fs.openSync(`${mountpoint}/of-0`, 'r+')
      fs.writeSync(writer, pageContent(9, 7), 0, PAGE, 7 * PAGE)
      for (const node of READERS) readOn(node, mountpoint, 'of-0')
      fs.closeSync(writer)
      fs.closeSync(reader)
      await settle()
      for (const node of READERS) readOn(node, mountpoint, 'of-0')
      const written = (await status(mountpoint)).numa!
      assert.ok(written.replicasCollapsed >= PAGES, `${written.replicasCollapsed} collapsed`)

      // The same below it.
      writeFile(`${SOURCE}/of-1`, 8, PAGES)
      await sleep(1100)
      for (const node of READERS) readOn(node, mountpoint, 'of-1')

      // Pages that are one for two files get replicas as others do.
      for (const name of ['one', 'two']) writeFile(`${SOURCE}/${name}`, 4, PAGES)
      await settle()
      for (const name of ['one', 'two']) readOn(0, mountpoint, name)
      const merged = await status(mountpoint)
      assert.equal(merged.merge!.pagesSharing, PAGES)
      await readUntilReplicated(mountpoint, ['one', 'two'], merged.numa!.replicasMade + PAGES)
      for (const nodes of placement(mountpoint, 4)) assert.ok(nodes.includes(0) && nodes.includes(2), `${nodes}`)
    }),
  TEST_MS_MAX,
)

guestTest(
  'a mount with --numa inode: each node has pages of its own',
  (note) =>
    withNumaMount('inode', async ({ mountpoint }) => {
      writeFile(`${SOURCE}/file`, 5, PAGES)
      await settle()
      for (const node of READERS) {
        readOn(node, mountpoint, 'file')
        assert.deepEqual(placement(mountpoint, 5), new Array(PAGES).fill(READERS.slice(0, node + 1)))
      }
      const bytes = PAGES * PAGE
      const loaded = await status(mountpoint)
      assert.deepEqual(loaded.numa!.bytesByNode, { 0: bytes, 1: bytes, 2: bytes })
      assert.equal(loaded.numa!.replicasMade, 0)
      // Equal on three nodes, and meant to be.
      assert.equal(loaded.merge!.pagesSharing, 0)
      const far = await farShare(mountpoint, () => readOn(1, mountpoint, 'file', 4))
      note(`${Math.round(far * 100)}% of what was read lay elsewhere`)
      assert.ok(far < 0.5, `${far} was read from afar`)
      assert.equal((await status(mountpoint)).merge!.bytesLoaded, loaded.merge!.bytesLoaded)

      const reader = fs.openSync(`${mountpoint}/file`, 'r')
      const writer = fs.openSync(`${mountpoint}/file`, 'r+')
      fs.writeSync(writer, pageContent(9, 3), 0, PAGE, 3 * PAGE)
      fs.ftruncateSync(writer, (PAGES - 1) * PAGE)
      for (const node of READERS) readOn(node, mountpoint, 'file')
      fs.closeSync(writer)
      fs.closeSync(reader)
      await settle()
      for (const node of READERS) readOn(node, mountpoint, 'file')
    }),
  TEST_MS_MAX,
)

async function withNumaMount(numa: 'replicate' | 'inode', body: (mount: Mount) => Promise<void>): Promise<void> {
  await withXfs(SOURCE, async () => {
    const args = ['--merge', 'content', '--memory', '32MiB', '--numa', numa, '--no-homes', '--workers', '2']
    runAnywhere()
    const mount = await startMount(SOURCE, `/tmp/numa-${numa}`, args)
    try {
      await body(mount)
    } finally {
      await mount.end()
    }
  })
}

/** A process on `node` reads the file through the mount `times` over; throws where the last of them got other bytes than the source has. */
function readOn(node: number, mountpoint: string, name: string, times = 1): void {
  const script = `for i in $(seq 2 ${times}); do cat "$0" > /dev/null; done; md5sum < "$0"`
  const mask = (1 << node).toString(16)
  const output = execFileSync('taskset', [mask, 'sh', '-c', script, `${mountpoint}/${name}`], { encoding: 'latin1' })
  const wanted = createHash('md5')
    .update(fs.readFileSync(`${SOURCE}/${name}`))
    .digest('hex')
  assert.equal(output.split(' ')[0], wanted, `${name} read on node ${node}`)
}

/** Processes on node 2 read the files until `count` replicas were made since the mount was. */
async function readUntilReplicated(mountpoint: string, names: readonly string[], count: number): Promise<void> {
  let made = 0
  for (let round = 0; round < 40; round++) {
    for (const name of names) readOn(2, mountpoint, name, 8)
    made = (await status(mountpoint)).numa!.replicasMade
    if (made >= count) return
  }
  throw new Error(`${made} replicas of ${count} were made`)
}

/** Which part of what was read from the arena meanwhile lay on another node than the worker was on. */
async function farShare(mountpoint: string, read: () => void): Promise<number> {
  const before = await status(mountpoint)
  read()
  const after = await status(mountpoint)
  const bytes = after.bytesRead.fromArena! - before.bytesRead.fromArena!
  assert.ok(bytes > 0)
  return (after.numa!.bytesReadFar - before.numa!.bytesReadFar) / bytes
}

/** For each page of the file that {@link pageContent} calls `file` the nodes that have it in the arena, as the kernel says of the memory that is bound to each. */
function placement(mountpoint: string, file: number): number[][] {
  const nodes: number[][] = Array.from({ length: PAGES }, () => [])
  const pid = servingProcess(mountpoint)
  const memory = fs.openSync(`/proc/${pid}/mem`, 'r')
  try {
    for (const { node, start, end } of boundMemory(pid)) {
      const bytes = Buffer.alloc(end - start)
      assert.equal(fs.readSync(memory, bytes, 0, bytes.length, start), bytes.length)
      for (let at = 0; at < bytes.length; at += PAGE) {
        const frame = bytes.subarray(at, at + PAGE)
        const page = frame.readUInt32LE(100) - 1
        if (page >= 0 && page < PAGES && frame.equals(pageContent(file, page))) nodes[page]!.push(node)
      }
    }
  } finally {
    fs.closeSync(memory)
  }
  return nodes.map((of) => of.sort((a, b) => a - b))
}

/** Memory of a process that is bound to one node: none of its pages lies on another. */
function boundMemory(pid: number): { readonly node: number; readonly start: number; readonly end: number }[] {
  const ends = new Map(
    [...fs.readFileSync(`/proc/${pid}/maps`, 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm)].map((line) => [
      Number.parseInt(line[1]!, 16),
      Number.parseInt(line[2]!, 16),
    ]),
  )
  const bound = [...fs.readFileSync(`/proc/${pid}/numa_maps`, 'latin1').matchAll(/^([0-9a-f]+) bind:(\d+) (.*)$/gm)]
  return bound.map(([, start = '', node, counts = '']) => {
    for (const [, on] of counts.matchAll(/\bN(\d+)=/g)) assert.equal(on, node, counts)
    const address = Number.parseInt(start, 16)
    return { node: Number(node), start: address, end: ends.get(address)! }
  })
}
