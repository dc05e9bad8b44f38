// Loaded into the serving process by NODE_OPTIONS: SIGUSR2 ends every worker thread that is in a request or may take one, or those that
// KILL_THREADS names, as running out of memory would; `main` is the process's own, in which something is thrown. The program itself has nothing for that. A worker that has received a request while there is
// a file KILL_RECEIVING ends before it has said so.
const { isMainThread } = require('node:worker_threads')
const { syncBuiltinESMExports } = require('node:module')

if (isMainThread && process.argv[1]?.endsWith('serving-process.js')) {
  const threads = require('node:worker_threads')
  const workers = []
  const name = process.env.KILL_THREADS ?? 'samepage-worker'
  threads.Worker = class extends threads.Worker {
    constructor(url, options) {
      super(url, options)
      if (options?.name === name) workers.push(this)
    }
  }
  syncBuiltinESMExports()
  process.on('SIGUSR2', () => {
    if (name === 'main') throw new Error('killed')
    for (const worker of workers.splice(0)) worker.terminate()
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
