// Loaded into the serving process by NODE_OPTIONS: its table of inodes has room for 4096.
const { isMainThread } = require('node:worker_threads')

const RECORD_BYTES = 192
const room = (inodes) => (16 + (1 << 20)) * 4 + inodes * RECORD_BYTES

if (isMainThread && process.argv[1]?.endsWith('serving-process.js'))
  globalThis.SharedArrayBuffer = new Proxy(SharedArrayBuffer, {
    construct: (target, [bytes, ...more]) => new target(bytes === room(1 << 23) ? room(4096) : bytes, ...more),
  })
