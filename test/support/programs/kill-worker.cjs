// Loaded into the serving process by NODE_OPTIONS: SIGUSR2 ends every worker thread that is in a request or may take one, or those that
// KILL_THREADS names, as running out of memory would; `main` is the process's own, in which something is thrown. The program itself has nothing for that. A worker that has received a request while there is
// a file KILL_RECEIVING ends before it has said so, one that is about to free a lock while there is a file KILL_LOCKED before it has.
const { isMainThread } = require('node:worker_threads')
const { syncBuiltinESMExports } = require('node:module')

if (isMainThread && process.argv[1]?.endsWith('serving-process.js')) {
  const threads = require('node:worker_threads')
  const workers = []
  const name = process.env.KILL_THREADS ?? 'samepage-worker'
  threads.Worker = class extends threads.Worker {
    constructor(url, options) {
      super(url, options)
      if (options?.name === name) workers.push({ worker: this, start: options.workerData })
    }
  }
  syncBuiltinESMExports()
  process.on('SIGUSR2', () => {
    if (name === 'main') throw new Error('killed')
    for (const { worker, start } of workers.splice(0)) {
      // In the middle of a change is a case of its own.
      const locks = start.shared && new Int32Array(start.shared.mutexes)
      while (locks && Atomics.load(locks, start.worker ?? locks.length - 1) > 0);
      worker.terminate()
    }
  })
}

const { workerData } = require('node:worker_threads')
const trigger = process.env.KILL_RECEIVING
if (trigger !== undefined && workerData?.fuseFd !== undefined && workerData.worker !== undefined) {
  const fs = require('node:fs')
  const { performance } = require('node:perf_hooks')
  const now = performance.now.bind(performance)
  // The first that is asked of a request is what time it is.
  performance.now = () => {
    if (!fs.existsSync(trigger)) return now()
    fs.unlinkSync(trigger)
    throw new Error('killed')
  }
}

const locked = process.env.KILL_LOCKED
if (locked !== undefined && workerData?.fuseFd !== undefined && workerData.worker !== undefined) {
  const fs = require('node:fs')
  const exchange = Atomics.exchange.bind(Atomics)
  // Only locks are freed so.
  Atomics.exchange = (words, at, value) => {
    if (value === 0 && fs.existsSync(locked)) {
      fs.unlinkSync(locked)
      // As running out of memory would: no `finally` is reached.
      process.exit(1)
    }
    return exchange(words, at, value)
  }
}
