import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { removeAllDeadSockets } from '../../../src/daemon/dead-sockets.ts'
import { close } from '../../../src/linux/file.ts'
import { listenUnix } from '../../../src/linux/unix-socket.ts'

/** Of a process that has ended. */
const DEAD = spawnSync('true').pid

let directory: string
const at = (name: string) => path.join(directory, name)

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-dead-'))
})
afterEach(() => {
  fs.chmodSync(directory, 0o700)
  fs.rmSync(directory, { recursive: true })
})

/** As a process that was killed leaves it. */
function leave(name: string): void {
  close(listenUnix(at(name)))
}

test('what nobody listens at goes; who listens, and whatever else lies there, stays', async () => {
  const dead = [`aa.${DEAD}.sock`, `bb.${DEAD}.sock`, '0:99999.grants']
  for (const name of dead) leave(name)
  // The serving process has died, the supervisor is about to unmount.
  leave(`cc.${process.pid}.sock`)
  leave('of-another-program')
  fs.writeFileSync(at('notes'), '')
  const living = listenUnix(at('0:99998.grants'))
  const server = net.createServer().listen(at(`dd.${DEAD}.sock`))
  let met = 0
  server.on('connection', () => met++)
  try {
    await removeAllDeadSockets(directory)
    const left = ['0:99998.grants', `cc.${process.pid}.sock`, `dd.${DEAD}.sock`, 'notes', 'of-another-program']
    expect(fs.readdirSync(directory).sort()).toEqual(left)
    // Who connects to a mount has it start a thread.
    expect(met).toBe(0)
  } finally {
    close(living)
    server.close()
  }
})

test('one that another network name space listens at stays: the kernel does not list it here', async () => {
  // Reached by another name, it is in nobody's list.
  const elsewhere = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-dead-'))
  const living = listenUnix(path.join(elsewhere, 'socket'))
  try {
    fs.linkSync(path.join(elsewhere, 'socket'), at('0:99997.grants'))
    await removeAllDeadSockets(directory)
    expect(fs.readdirSync(directory)).toEqual(['0:99997.grants'])
  } finally {
    close(living)
    fs.rmSync(elsewhere, { recursive: true })
  }
})

test('in a directory that others can write, or that is not there, nothing is touched', async () => {
  leave(`aa.${DEAD}.sock`)
  fs.chmodSync(directory, 0o777)
  await removeAllDeadSockets(directory)
  expect(fs.readdirSync(directory)).toHaveLength(1)
  await removeAllDeadSockets(at('nothing'))
})
