// What is written to a clone becomes its own; its sibling keeps what it had. Usage: node examples/04-write.mjs [DIRECTORY on XFS or btrfs]
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PageCache } from 'samepage-cache'

const PAGE = 4096
const MIB = 1024 * 1024

const directory = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'samepage-'))
const original = path.join(directory, 'original')
const clone = path.join(directory, 'clone')
fs.writeFileSync(original, Buffer.alloc(4 * MIB, 'original'))
fs.copyFileSync(original, clone, fs.constants.COPYFILE_FICLONE)
await sleep(100)

const cache = await PageCache.create({ memory: '64MiB' })
try {
  const a = await cache.open(original)
  const b = await cache.open(clone, 'r+')
  await Promise.all([a.advise('willneed'), b.advise('willneed')])
  const before = cache.stats().pageBytes

  // When it resolves, everybody sees the bytes: readers through the cache, and other programs.
  await b.write(Buffer.alloc(PAGE, 'changed!'), { position: MIB })
  // And when this does, they are on the disk.
  await b.sync()

  const bytes = Buffer.alloc(8)
  for (const file of [a, b]) {
    await file.read(bytes, { position: MIB })
    console.log(`${path.basename(file.path)}, through the cache: ${bytes}`)
  }
  console.log(`clone, the file itself: ${fs.readFileSync(clone).subarray(MIB, MIB + 8)}`)
  console.log('pages more in memory:', (cache.stats().pageBytes - before) / PAGE)
  await Promise.all([a.close(), b.close()])
} finally {
  await cache.close()
  fs.rmSync(directory, { recursive: true })
}
