/** The steps of .ci/run: told to end, also the shell alone, all of them end; and what they say, and how they end, is told as ever. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { ROOT } from '../../support/sources.ts'

let scratch: string
beforeEach(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-ci-'))
})
afterEach(() => fs.rmSync(scratch, { recursive: true }))

const script = (steps: string) =>
  `set -euo pipefail; scratch=${scratch}; failed=(); . ${ROOT}/.ci/steps.sh; ${steps}; printf 'failed: %s\\n' "\${failed[*]}"`

/** Writes its process id, says something as it is told to end, and would live for minutes. */
const STEP = `bash -c 'echo $$ >"$0"/pid; trap "echo told to end; exit 1" TERM; sleep 300 & echo $! >"$0"/child; wait'`

function isThere(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

test.each([
  ['SIGTERM', '', 143],
  ['SIGHUP', '', 129],
  ['SIGTERM', 'limited 5 ', 143],
  ['SIGINT', 'limited 5 ', 130],
] as const)('%s to the shell alone, while "%s" runs: the step ends with it', async (signal, limited, status) => {
  const shell = spawn('bash', ['-c', script(`step one ${limited}${STEP} ${scratch}; echo never`)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  shell.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const closed = once(shell, 'close')
  const pidIn = (name: string) => Number(fs.readFileSync(`${scratch}/${name}`, 'utf8').trim() || 'none')
  await eventually(() => expect(isThere(pidIn('child'))).toBe(true))
  const pids = [pidIn('pid'), pidIn('child')]
  try {
    shell.kill(signal)
    expect((await closed)[0]).toBe(status)
    expect(pids.filter(isThere)).toEqual([])
  } finally {
    for (const pid of pids.filter(isThere)) process.kill(pid, 'SIGKILL')
  }
  expect(output).toContain('told to end')
  expect(output).not.toContain('never')
})

test('a step that fails is noted, with what it said last; the others run', () => {
  const steps = `step good limited 1 echo fine; step bad bash -c 'echo wrong; exit 3'; step last true; cat ${scratch}/failures`
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script(steps)], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toMatch(/fine\n=== good: passed in \d+ s\n/)
  expect(stdout).toMatch(/wrong\n=== bad: FAILED with status 3 after \d+ s\n/)
  expect(stdout).toMatch(/=== last: passed in \d+ s\n/)
  expect(stdout).toMatch(/\nFAILED: bad, with status 3 after \d+ s; its last lines:\nwrong\nfailed: bad\n$/)
})
