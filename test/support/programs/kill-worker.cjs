// Loaded into the serving process by NODE_OPTIONS: SIGUSR2 ends every worker thread that is in a request or may take one, as
// running out of memory would. The program itself has nothing for that.
const { isMainThread } = require('node:worker_threads')
const { syncBuiltinESMExports } = require('node:module')

if (isMainThread && process.argv[1]?.endsWith('serving-process.js')) {
  const threads = require('node:worker_threads')
  const workers = []
  threads.Worker = class extends threads.Worker {
    constructor(url, options) {
      super(url, options)
      if (options?.name === 'samepage-worker') workers.push(this)
    }
  }
  syncBuiltinESMExports()
  process.on('SIGUSR2', () => {
    for (const worker of workers.splice(0)) worker.terminate()
  })
}
