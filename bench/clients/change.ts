/** Makes files, gives them other names, removes them; one of the three is timed. */
import fs from 'node:fs'
import type { ChangeTask } from '../client.ts'
import { answer, task } from './support.ts'

const { directory, what, files } = task<ChangeTask>()
const names = Array.from({ length: files }, (_, i) => [`${directory}/f${i}`, `${directory}/g${i}`] as const)
const seconds: Partial<Record<ChangeTask['what'], number>> = {}

function timed(step: ChangeTask['what'], call: (name: string, other: string) => void): void {
  const began = performance.now()
  for (const [name, other] of names) call(name, other)
  seconds[step] = (performance.now() - began) / 1000
}

timed('create', (name) => fs.closeSync(fs.openSync(name, 'wx')))
timed('rename', (name, other) => fs.renameSync(name, other))
timed('unlink', (_, other) => fs.unlinkSync(other))
answer({ count: files, seconds: seconds[what]! })
