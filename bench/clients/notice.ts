/** Changes files below a mount, one after the other, and looks through the mount until it sees each change. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NoticeTask } from '../client.ts'
import { answer, task } from './support.ts'

const { below, above, files, changes, patienceMs, pauseMs } = task<NoticeTask>()
const nap = new Int32Array(new SharedArrayBuffer(4))

/** Each makes a change of file number `i`, and returns what tells through the mount that it was noticed. */
const CHANGES: readonly ((i: number) => () => boolean)[] = [
  function append(i) {
    fs.appendFileSync(`${below}/f${i}`, 'x')
    const { size } = fs.statSync(`${below}/f${i}`)
    return () => fs.statSync(`${above}/f${i}`).size === size
  },
  function chmod(i) {
    const mode = fs.statSync(`${below}/f${i}`).mode ^ 0o022
    fs.chmodSync(`${below}/f${i}`, mode)
    return () => fs.statSync(`${above}/f${i}`).mode === mode
  },
  function rename(i) {
    fs.renameSync(`${below}/f${i}`, `${below}/f${i}.new`)
    return () => !fs.existsSync(`${above}/f${i}`)
  },
  function renameBack(i) {
    fs.renameSync(`${below}/f${i}.new`, `${below}/f${i}`)
    return () => !fs.existsSync(`${above}/f${i}.new`)
  },
  function replace(i) {
    fs.writeFileSync(`${below}/new`, `number ${i}`)
    const { ino } = fs.statSync(`${below}/new`)
    fs.renameSync(`${below}/new`, `${below}/f${i}`)
    return () => fs.statSync(`${above}/f${i}`).ino === ino
  },
]

const tookMs: number[] = []
for (let change = 0; change < changes; change++) {
  const make = CHANGES[change % CHANGES.length]!
  const file = Math.floor(change / CHANGES.length) % files
  // What the kernel has never heard of cannot be old.
  for (const name of [`f${file}`, `f${file}.new`]) fs.existsSync(`${above}/${name}`)
  const isNoticed = make(file)
  const changedAt = performance.now()
  while (!isNoticed()) {
    if (performance.now() - changedAt > patienceMs) throw new Error(`${make.name} of f${file} was not noticed`)
    Atomics.wait(nap, 0, 0, 0.1)
  }
  tookMs.push(performance.now() - changedAt)
  await sleep(pauseMs)
}
answer({ tookMs })
