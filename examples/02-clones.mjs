// Twenty clones of one file are in memory once. Usage: node examples/02-clones.mjs [DIRECTORY on XFS or btrfs]
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PageCache } from 'samepage-cache'

const CLONES = 20
const MIB = 1024 * 1024

const directory = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'samepage-'))
const base = path.join(directory, 'base')
fs.writeFileSync(base, Buffer.alloc(8 * MIB, 'the same in every clone · '))
const clones = Array.from({ length: CLONES }, (_, i) => path.join(directory, `clone-${i}`))
// A reflink clone where the file system has them, else a copy.
for (const clone of clones) fs.copyFileSync(base, clone, fs.constants.COPYFILE_FICLONE)
// What is changing at this very moment is not shared: nothing could be proved about it.
await sleep(100)

const cache = await PageCache.create({ memory: '256MiB' })
try {
  const buffer = Buffer.alloc(MIB)
  for (const clone of clones) {
    const file = await cache.open(clone)
    for (let position = 0; (await file.read(buffer, { position })) > 0; ) position += MIB
    await file.close()
  }
  const { shares, pageBytes, bytesLoaded, homes } = cache.stats()
  console.log(`read: ${CLONES * 8} MiB from ${CLONES} files`)
  console.log(`in memory: ${pageBytes / MIB} MiB, read from the disk: ${bytesLoaded / MIB} MiB`)
  if (homes > 0) console.log('the clones share their storage, and so their memory')
  else if (shares) console.log('nothing is shared: are there clones on this file system? XFS and btrfs have them')
  else console.log('nothing is shared: this system cannot tell which files share storage')
} finally {
  await cache.close()
  fs.rmSync(directory, { recursive: true })
}
