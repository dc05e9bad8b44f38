import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../../support/sources.ts'

/** Runs the summary over one report with these tests (name → status). */
function summarise(tests: Record<string, string>, fileStatus = 'passed'): { status: number | null; lines: string[] } {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-summary-'))
  try {
    const assertionResults = Object.entries(tests).map(([fullName, status]) => ({ fullName, status }))
    const report = path.join(directory, 'report.json')
    fs.writeFileSync(
      report,
      JSON.stringify({ testResults: [{ name: 'a.test.ts', status: fileStatus, assertionResults }] }),
    )
    return run(report)
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

function run(report: string): { status: number | null; lines: string[] } {
  const { status, stdout } = spawnSync(process.execPath, [path.join(ROOT, 'scripts/ci-summary.mjs'), report], {
    encoding: 'utf8',
  })
  return { status, lines: stdout.trim().split('\n') }
}

test('counts, and a skip with a need is no failure', () => {
  const { status, lines } = summarise({ a: 'passed', b: 'passed', 'c [needs numa: one NUMA node only]': 'skipped' })
  expect(status).toBe(0)
  expect(lines.at(-1)).toBe('2 passed, 0 failed, 1 skipped')
})

test.each<[string, () => { status: number | null; lines: string[] }, string]>([
  ['a failed test', () => summarise({ a: 'passed', b: 'failed' }), '1 passed, 1 failed, 0 skipped'],
  ['a skip without a need', () => summarise({ a: 'passed', b: 'skipped' }), '1 passed, 0 failed, 1 skipped'],
  ['a test to be written', () => summarise({ a: 'passed', b: 'todo' }), '1 passed, 0 failed, 1 skipped'],
  ['a file that cannot be loaded', () => summarise({}, 'failed'), '0 passed, 1 failed, 0 skipped'],
  ['a run without tests', () => summarise({}), '0 passed, 0 failed, 0 skipped'],
  ['a missing report', () => run('/nonexistent/report.json'), '0 passed, 0 failed, 0 skipped'],
])('fails on %s', (_, act, last) => {
  const { status, lines } = act()
  expect(status).toBe(1)
  expect(lines.at(-1)).toBe(last)
})
