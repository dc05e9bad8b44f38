// Loaded into the serving process by NODE_OPTIONS: SIGUSR2 ends every worker thread that is in a request or may take one, or those that
// KILL_THREADS names, as running out of memory would. The program itself has nothing for that.
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
    for (const worker of workers.splice(0)) worker.terminate()
  })
}
