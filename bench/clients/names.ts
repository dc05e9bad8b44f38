/** Asks for names: stat(2), open(2) and close(2), and lists of directories. */
import { setTimeout as sleep } from 'node:timers/promises'
import { getdents } from '../../src/linux/dirents.ts'
import { close, O_DIRECTORY, O_RDONLY, open, openat } from '../../src/linux/file.ts'
import { cString } from '../../src/linux/native.ts'
import { Statx } from '../../src/linux/statx.ts'
import type { NamesTask } from '../client.ts'
import { answer, must, shuffled, task } from './support.ts'

const { directory, what, files, passes, pauseSeconds } = task<NamesTask>()
const passed: Record<NamesTask['what'], () => number> = { stat: statAll, 'open and close': openAll, list }
const names = what === 'list' ? [] : Array.from(shuffled(files), (i) => cString(`${directory}/f${i}`))
const stat = new Statx()
// As the C library's readdir(3) has it.
const buffer = new Uint8Array(32 << 10)

let count = 0
let seconds = 0
for (let pass = 1; pass <= passes; pass++) {
  if (pass === passes && pauseSeconds > 0) await sleep(pauseSeconds * 1000)
  const began = performance.now()
  const done = passed[what]()
  if (pass < passes && pauseSeconds > 0) continue
  count += done
  seconds += (performance.now() - began) / 1000
}
answer({ count, seconds })

function statAll(): number {
  for (const name of names) must(stat.at(-100, name), 'stat')
  return names.length
}

function openAll(): number {
  for (const name of names) close(must(openat(-100, name, O_RDONLY), 'open'))
  return names.length
}

/** Counts entries without looking at their names. */
function list(): number {
  const fd = open(directory, O_RDONLY | O_DIRECTORY)
  let entries = 0
  for (;;) {
    const length = must(getdents(fd, buffer, buffer.length), 'getdents')
    if (length === 0) break
    for (let at = 0; at < length; at += buffer[at + 16]! | (buffer[at + 17]! << 8)) entries++
  }
  close(fd)
  // "." and ".." are among them.
  if (entries !== files + 2) throw new Error(`${entries} entries in ${directory}, not ${files + 2}`)
  return entries
}
