/**
 * A test that never gives its thread back (it reads from a mount that hangs, it loops without an end) cannot be timed out: it would hold up the whole run. This ends the process of its
 * file, which fails, and says first what all its threads were waiting for.
 */
import { Worker } from 'node:worker_threads'

const PATIENCE_MS = 15 * 60_000
const BEAT_MS = 1000

const beats = new Int32Array(new SharedArrayBuffer(4))
setInterval(() => Atomics.add(beats, 0, 1), BEAT_MS).unref()

/** Runs in a thread of its own, as text: it is to need nothing that has to be loaded. */
function watch(patienceMs: number, beats: Int32Array): void {
  const fs = require('node:fs') as typeof import('node:fs')
  const look = (task: string, file: string) => {
    try {
      return fs.readFileSync(`/proc/self/task/${task}/${file}`, 'latin1').trim()
    } catch {
      return '?'
    }
  }
  for (let last = -1; last !== Atomics.load(beats, 0); ) {
    last = Atomics.load(beats, 0)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, patienceMs)
  }
  const tasks = fs.readdirSync('/proc/self/task')
  const lines = tasks.map((task) => ['comm', 'wchan', 'syscall'].map((file) => look(task, file)).join(' · '))
  fs.writeSync(2, `A test has held its thread for ${patienceMs / 60_000} minutes. Threads:\n${lines.join('\n')}\n`)
  process.kill(process.pid, 'SIGKILL')
}

new Worker(
  `const { workerData } = require('node:worker_threads'); (${watch})(workerData.patienceMs, workerData.beats)`,
  {
    eval: true,
    workerData: { patienceMs: PATIENCE_MS, beats },
    stdout: false,
    stderr: false,
  },
).unref()
