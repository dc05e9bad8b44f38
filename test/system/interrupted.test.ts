/** Commands that are interrupted at the worst moment leave nothing behind, and end by the signal. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readMountInfo } from '../../src/linux/mountinfo.ts'
import { PROGRAM } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

let directory: string
let temporary: string

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-interrupted-'))
  temporary = `${directory}/tmp`
  fs.mkdirSync(temporary)
})
afterEach(() => fs.rmSync(directory, { recursive: true }))

/** Runs the program, which gets the signal when a call of this function of node:fs has done its work; the signal that ended it. */
function interruptAfter(call: 'fsyncSync' | 'mkdtempSync', signal: NodeJS.Signals, args: string[]) {
  const hook = `${directory}/hook.cjs`
  fs.writeFileSync(
    hook,
    `const fs = require('node:fs')
    const original = fs.${call}
    fs.${call} = (...args) => {
      const result = original(...args)
      process.kill(process.pid, '${signal}')
      return result
    }`,
  )
  return spawnSync(process.execPath, ['--require', hook, PROGRAM, ...args], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: 'ignore',
  }).signal
}

describeWith([], 'a page of inspect', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('is there as a whole, and nothing beside it, at %s', (signal) => {
    const page = `${directory}/out/page.html`
    fs.mkdirSync(path.dirname(page))
    expect(interruptAfter('fsyncSync', signal, ['inspect', '--html', page, temporary])).toBe(signal)
    expect(fs.readdirSync(path.dirname(page))).toEqual(['page.html'])
    expect(fs.readFileSync(page, 'latin1')).toMatch(/<\/html>\s*$/)
  })
})

describeWith(['root', 'fuse'], 'the mount by which doctor tries FUSE', () => {
  test.each(['symlink', 'relative'])('is gone, and its directory, where TMPDIR is %s', (name) => {
    const link = `${directory}/symlink`
    fs.rmSync(link, { force: true })
    fs.symlinkSync(temporary, link)
    const env = { ...process.env, TMPDIR: name === 'symlink' ? link : path.relative(directory, temporary) }
    const { stdout, stderr } = spawnSync(process.execPath, [PROGRAM, 'doctor'], {
      env,
      cwd: directory,
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    expect(stdout).not.toMatch(/EBUSY|ENOENT/)
    expect(fs.readdirSync(temporary)).toEqual([])
    expect(readMountInfo().filter(({ mountpoint }) => mountpoint.startsWith(fs.realpathSync(directory)))).toEqual([])
  })

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('is gone, and its directory, at %s', (signal) => {
    expect(interruptAfter('mkdtempSync', signal, ['doctor'])).toBe(signal)
    expect(fs.readdirSync(temporary)).toEqual([])
    expect(readMountInfo().filter(({ mountpoint }) => mountpoint.startsWith(directory))).toEqual([])
  })
})
