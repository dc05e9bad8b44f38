/**
 * Where a mount's control socket lies: one socket per mount in a directory that only its user can list, named after the
 * mountpoint, the supervisor's process id, and the mount's device, by which it is found where the mount has moved, or is bound elsewhere. The sockets are the list of mounts: there is no other registry that could disagree.
 * A mountpoint may have two: of a mount that was detached but still serves open files, and of a new one.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { describeError } from '../linux/errors.ts'
import { isTrusted, runtimeDirectory } from '../util/runtime-directory.ts'
import { UserError } from '../util/user-error.ts'

/**
 * Where the control socket of a mount lies that the process `supervisor` makes at `mountpoint` (absolute, no symlinks), and that has the device
 * `major:minor`. The mountpoint is hashed: a socket's path may have 107 bytes only.
 */
export function controlSocket(mountpoint: string, supervisor: number, device: string): string {
  return path.join(runtimeDirectory(), `${nameOf(mountpoint)}.${supervisor}.${device}.sock`)
}

/** The control socket of the mount that was made at `mountpoint`, the newest where there are several; a path that does not exist where there is none. */
export function socketPath(mountpoint: string): string {
  return newest(socketsOf(mountpoint)) ?? controlSocket(mountpoint, 0, '')
}

/** The control socket of the mount that has the device, wherever it is mounted; undefined where there is none. The newest: of a mount before, which had the same, one may be left. */
export function socketOfDevice(device: string): string | undefined {
  return newest(listSockets().filter((socket) => deviceOfControl(socket) === device))
}

function newest(sockets: string[]): string | undefined {
  const made = (socket: string) => fs.lstatSync(socket, { throwIfNoEntry: false })?.ctimeMs ?? 0
  return sockets.sort((a, b) => made(b) - made(a))[0]
}

/** The process id of the supervisor who made the socket. */
export function supervisorOf(socket: string): number {
  return Number(path.basename(socket).split('.')[1])
}

/** The device of the mount whose control socket it is. */
export function deviceOfControl(socket: string): string {
  return path.basename(socket).split('.')[2] ?? ''
}

/** Removes the sockets of mounts at `mountpoint` whose supervisor is no more. */
export function removeDeadSockets(mountpoint: string): void {
  for (const socket of socketsOf(mountpoint)) if (!isAlive(supervisorOf(socket))) fs.rmSync(socket, { force: true })
}

/** Whether the process exists and has not ended; a zombie, whose parent does not ask for its status, has. */
export function isAlive(pid: number): boolean {
  try {
    // pid (name, which may hold anything) state …
    return !/\) [ZX] [^)]*$/.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

function socketsOf(mountpoint: string): string[] {
  return listSockets().filter((socket) => isOfMount(socket, mountpoint))
}

/** Whether the control socket is that of a mount that was made at `mountpoint`. */
function isOfMount(socket: string, mountpoint: string): boolean {
  return path.basename(socket).startsWith(`${nameOf(mountpoint)}.`)
}

function nameOf(mountpoint: string): string {
  return createHash('sha256').update(mountpoint).digest('hex').slice(0, 24)
}

/** Makes the directory, or throws a UserError where it cannot be made, or trusted. */
export function makeRuntimeDirectory(): void {
  const directory = runtimeDirectory()
  makeDirectory(directory)
  // Control sockets are for their user only; that for grants, of a mount of root, is for all who are let into the mount.
  if (process.geteuid?.() === 0) fs.chmodSync(directory, 0o711)
  if (!isTrusted(directory))
    throw new UserError(`${directory} is somebody else's, or others may write to it: remove it, or set XDG_RUNTIME_DIR`)
}

function makeDirectory(directory: string): void {
  try {
    // Not by `recursive` alone, to which a file system that cannot be written to is ENOENT.
    fs.mkdirSync(path.dirname(directory), { recursive: true, mode: 0o700 })
    fs.mkdirSync(directory, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    if (code === 'EEXIST' && fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return
    const todo =
      process.geteuid?.() === 0
        ? `${path.dirname(directory)} must be a directory that can be written to`
        : 'set XDG_RUNTIME_DIR to a directory that you may write to'
    throw new UserError(`${directory}, where control sockets lie, cannot be made (${describeError(code)}): ${todo}`)
  }
}

/** Whether a file of that name is a control socket. */
export const isControlSocket = (name: string): boolean => name.endsWith('.sock')

/** The control sockets that lie there, alive or not. */
export function listSockets(): string[] {
  try {
    const directory = runtimeDirectory()
    if (!isTrusted(directory)) return []
    return fs
      .readdirSync(directory)
      .filter(isControlSocket)
      .map((name) => path.join(directory, name))
  } catch {
    return []
  }
}

/**
 * Asks a mount over its control socket; the parsed answer, or undefined where nobody answers (a dead mount). Rejects with a UserError, which calls the mount `name`, where it
 * answers nothing in time, or not to the end.
 */
export function ask<Answer>(
  socket: string,
  request: string,
  { timeoutMs = 5000, name = `the mount of ${socket}` } = {},
): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    // Its own connection: one that is kept for the next question may have been closed meanwhile.
    const call = http.get({ socketPath: socket, path: request, timeout: timeoutMs, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        body += text
      })
      // A mount that ends meanwhile cuts its answer off.
      const isCutOff = () => reject(new UserError(`${name} did not answer to the end`))
      response.on('error', isCutOff)
      response.on('end', () => {
        if (response.statusCode !== 200)
          return reject(new UserError(`${name} answered ${response.statusCode}: ${body}`))
        try {
          resolve(JSON.parse(body) as Answer)
        } catch {
          isCutOff()
        }
      })
    })
    call.on('timeout', () => call.destroy(new UserError(`${name} did not answer within ${timeoutMs} ms`)))
    call.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined)
      else reject(error instanceof UserError ? error : new UserError(`${name} did not answer: ${error.message}`))
    })
  })
}
