/** Asks for one file after the other and notes how long each answer took: is anybody held up? */
import { setTimeout as sleep } from 'node:timers/promises'
import { cString } from '../../src/linux/native.ts'
import { Statx } from '../../src/linux/statx.ts'
import type { ProbeTask } from '../client.ts'
import { answer, must, task } from './support.ts'

const { directory, files, seconds } = task<ProbeTask>()
const stat = new Statx()
const atMs: number[] = []
const tookMs: number[] = []
const end = Date.now() + seconds * 1000
for (let i = 0; i < files && Date.now() < end; i++) {
  // Each name is new to the kernel, so the server has to answer.
  const name = cString(`${directory}/f${i}`)
  const began = performance.now()
  must(stat.at(-100, name), 'stat')
  tookMs.push(performance.now() - began)
  atMs.push(Date.now())
  await sleep(1)
}
answer({ atMs, tookMs })
