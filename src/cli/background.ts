/**
 * `mount --daemon`: the same command once more, in a session of its own.
 *
 * ```
 * parent   starts the child, waits until it is ready or has failed, returns its status
 * child    mounts, and speaks through the parent's stdout and stderr → ready: tells the parent and settles: it keeps no
 *          terminal, no pipe and no directory of the one who called, and what goes wrong later is for the system log
 * ```
 */
import { spawn } from 'node:child_process'
import { printableName } from '../inspect/names.ts'
import { sendDatagram } from '../linux/datagram.ts'
import { close, O_RDWR, open } from '../linux/file.ts'
import { keepFromPrograms, redirect } from '../linux/inherited.ts'
import { ENDING_SIGNALS } from '../util/signals.ts'
import { EXIT } from './output.ts'

/** Tells the child that it is one. */
const MARK = 'SAMEPAGE_IN_BACKGROUND'
const SYSTEM_LOG = '/dev/log'
/** syslog(3): LOG_DAEMON | LOG_WARNING. */
const PRIORITY = 24 | 4

/** Is this the process that serves in the background? */
export const isBackground = process.env[MARK] !== undefined
delete process.env[MARK]
let isSettled = false

/** Starts this command again in the background; resolves with the exit status when it is ready or has failed. */
export async function startInBackground(): Promise<number> {
  // Whoever called may wait until all copies of his pipe, or lock, are closed.
  keepFromPrograms(3)
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [MARK]: '1' },
  })
  // In a session of its own it does not hear the terminal's Ctrl-C.
  let isInterrupted = false
  const stop = () => {
    isInterrupted = true
    child.kill('SIGTERM')
  }
  for (const signal of ENDING_SIGNALS) process.on(signal, stop)
  const status = await new Promise<number>((resolve, reject) => {
    // It may have become ready while it was told to stop: then there is no mount to speak of.
    child.once('message', () => isInterrupted || resolve(EXIT.OK))
    child.once('exit', (code) => resolve(isInterrupted ? EXIT.FAILED : (code ?? EXIT.FAILED)))
    child.once('error', reject)
  })
  for (const signal of ENDING_SIGNALS) process.off(signal, stop)
  if (child.connected) child.disconnect()
  child.unref()
  return status
}

/** In the child, before it mounts: if the parent goes before all is ready, nobody knows of the mount, so it ends. */
export function endWithParent(): void {
  process.once('disconnect', () => {
    if (!isSettled) end()
  })
  // The event may have been before anybody listened.
  if (!process.connected) end()
  // Having failed, this process is not to wait for its parent, who waits for it.
  process.channel?.unref()
}

/** In the child, when it is ready. */
export function settle(): void {
  process.chdir('/')
  const nothing = open('/dev/null', O_RDWR)
  for (const fd of [1, 2]) redirect(fd, nothing)
  close(nothing)
  isSettled = true
  process.send?.({ type: 'ready' }, undefined, undefined, (error) => {
    if (error !== null) end()
  })
}

function end(): void {
  process.kill(process.pid, 'SIGTERM')
}

/** Says what went wrong: on stderr, or, where there is none any more, in the system log. */
export function complain(told: string): void {
  const line = printableName(told)
  if (isSettled) sendDatagram(SYSTEM_LOG, `<${PRIORITY}>samepage[${process.pid}]: ${line}`)
  else process.stderr.write(`samepage: ${line}\n`)
}
