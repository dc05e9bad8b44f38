// Streams, and giving up. Usage: node examples/05-stream-and-abort.mjs [FILE]
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { PageCache } from 'samepage-cache'

const MIB = 1024 * 1024

const cache = await PageCache.create({ memory: '64MiB' })
try {
  const file = await cache.open(process.argv[2] ?? process.execPath)
  const end = 8 * MIB - 1

  // Read ahead while the hash is computed.
  const hash = createHash('sha256')
  await pipeline(file.createReadStream({ end }), hash)
  const expected = createHash('sha256')
  await pipeline(fs.createReadStream(file.path, { end }), expected)
  console.log('the same bytes as without a cache:', hash.digest('hex') === expected.digest('hex'))

  // The call is given up at once. The read below it ends by itself, and what it brings is cached.
  const controller = new AbortController()
  const reading = file.read(Buffer.alloc(MIB), { position: 16 * MIB, signal: controller.signal })
  controller.abort()
  await reading.catch((error) => console.log('given up:', error.name))

  // Errors are those of node:fs.
  await cache.open('/no/such/file').catch(({ code, syscall, path }) => console.log('error:', code, syscall, path))
  await file.close()
} finally {
  await cache.close()
}
