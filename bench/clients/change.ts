/** Makes files, gives them other names, removes them, several times; one of the three is timed, the last time. */
import fs from 'node:fs'
import type { ChangeTask } from '../client.ts'
import { answer, task } from './support.ts'

const { directory, what, files, passes } = task<ChangeTask>()
const names = Array.from({ length: files }, (_, i) => [`${directory}/f${i}`, `${directory}/g${i}`] as const)
const seconds: Partial<Record<ChangeTask['what'], number>> = {}

function timed(step: ChangeTask['what'], call: (name: string, other: string) => void): void {
  const began = performance.now()
  for (const [name, other] of names) call(name, other)
  seconds[step] = (performance.now() - began) / 1000
}

for (let pass = 0; pass < passes; pass++) {
  timed('create', (name) => fs.closeSync(fs.openSync(name, 'wx')))
  timed('rename', (name, other) => fs.renameSync(name, other))
  timed('unlink', (_, other) => fs.unlinkSync(other))
}
answer({ count: files, seconds: seconds[what]! })
