// Reading: a miss goes to the file, a hit does not. Usage: node examples/01-read.mjs [DIRECTORY]
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { PageCache } from 'samepage-cache'

const directory = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'samepage-'))
fs.writeFileSync(path.join(directory, 'greeting'), 'Hello, page cache!\n'.repeat(10_000))

const cache = await PageCache.create({ memory: '64MiB' })
try {
  const file = await cache.open(path.join(directory, 'greeting'))
  const buffer = Buffer.alloc(18)

  // Never blocks: nothing is in memory yet.
  console.log('tryRead, cold:', file.tryRead(buffer, { position: 0 }))

  // Reads the page from the file, and the next ones ahead, for the file is read from its beginning.
  const count = await file.read(buffer, { position: 0 })
  console.log('read:', count, 'bytes,', buffer.toString())

  // Hits: no system call. Every further read of these pages comes from memory.
  console.log('tryRead, hot:', file.tryRead(buffer, { position: 19 }), 'bytes')
  console.log('readSync:', file.readSync(buffer, { position: 190 }), 'bytes')

  // Zero copy: the bytes where they lie in the cache, pinned until the view is disposed.
  const view = await file.view(19 * 100, 18)
  console.log('view:', Buffer.from(view.bytes).toString())
  view.dispose()

  await file.close()
} finally {
  await cache.close()
  fs.rmSync(directory, { recursive: true })
}
