/**
 * Sockets whose mount is no more. A process that is killed leaves its own behind; `samepage umount` clears a dead mount, but umount(8) knows of none. So whoever looks at the
 * directory next removes them.
 *
 * A socket is dead if nobody has it bound: neither here, as the kernel lists them, nor in another network name space that shares the directory, which only connecting tells. Mounts and process ids
 * would not do: those of other name spaces cannot be seen.
 */
import fs from 'node:fs'
import path from 'node:path'
import { isGrantSocket } from '../exclusive/mounts.ts'
import { ERRNO } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { boundSockets, connectUnix } from '../linux/unix-socket.ts'
import { isTrusted, runtimeDirectory } from '../util/runtime-directory.ts'
import { isAlive, isControlSocket, supervisorOf } from './control-socket.ts'

/** One that listens takes whoever connects at once, or lets him wait: it lives. */
const CONNECT_MS = 100

/** Removes what dead mounts of this user have left. Leaves what it may not remove. */
export async function removeAllDeadSockets(directory = runtimeDirectory()): Promise<void> {
  if (!isTrusted(directory)) return
  const found = fs.readdirSync(directory).filter((name) => isControlSocket(name) || isGrantSocket(name))
  // Listed afterwards: one that was bound after it was found is in the list.
  const bound = boundSockets()
  for (const name of found) {
    const socket = path.join(directory, name)
    // By its name `samepage umount` finds who still ends the mount, having lost the process that served it.
    if (isControlSocket(name) && isAlive(supervisorOf(name))) continue
    if (!bound.has(socket) && (await refuses(socket))) remove(socket)
  }
}

function remove(socket: string): void {
  try {
    fs.unlinkSync(socket)
  } catch {
    // Gone, or for good: it is in nobody's way.
  }
}

async function refuses(socket: string): Promise<boolean> {
  const fd = await connectUnix(socket, CONNECT_MS)
  if (fd >= 0) close(fd)
  return fd === -ERRNO.ECONNREFUSED
}
