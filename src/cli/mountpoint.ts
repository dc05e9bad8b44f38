/** From what a user calls a mountpoint to its path in the list of mounts. The mount itself is not touched: it may be dead, or hang. */
import fs from 'node:fs'
import path from 'node:path'
import { ask, isOfMount, listSockets, socketPath } from '../daemon/control-socket.ts'
import type { StatusReport } from '../daemon/status.ts'
import { samepageMounts } from '../exclusive/mounts.ts'
import { UserError } from '../util/user-error.ts'

const SYMLINKS_MAX = 40

/** The absolute path without symlinks; what does not exist is left as it stands. */
export function realMountpoint(argument: string): string {
  let absolute = path.resolve(argument)
  for (let links = 0; links < SYMLINKS_MAX; links++) {
    try {
      absolute = path.join(fs.realpathSync(path.dirname(absolute)), path.basename(absolute))
      // Only of a symlink; of anything else, the root of a dead mount too, it is an error.
      absolute = path.resolve(path.dirname(absolute), fs.readlinkSync(absolute))
    } catch {
      break
    }
  }
  return absolute
}

/**
 * The control socket of the mount at `mountpoint`; a path that does not exist where there is none. Sockets have the name of the place where the mount was made: one that has moved since, with a
 * directory above it, is found by what it answers.
 */
export async function socketOf(mountpoint: string): Promise<string> {
  const socket = socketPath(mountpoint)
  if (fs.existsSync(socket)) return socket
  const mounted = samepageMounts().map((mount) => mount.mountpoint)
  for (const other of listSockets()) {
    if (mounted.some((place) => isOfMount(other, place))) continue
    const report = await ask<StatusReport>(other, '/status').catch(() => undefined)
    if (report?.mountpoint === mountpoint) return other
  }
  return socket
}

/** What is said of a mount that nobody serves any more (ENOTCONN), and of what lies in one. */
export function hasDied(place: string): UserError {
  const mountpoint = mountAround(place)
  return new UserError(
    mountpoint === undefined
      ? `${place} lies in a mount whose server has died: unmount that first`
      : `${mountpoint} is a mount whose daemon has died: "samepage umount ${mountpoint}" clears it`,
  )
}

/** The Samepage mount that `place` is, or lies in; it as it was given. */
function mountAround(place: string): string | undefined {
  const mounted = new Set(samepageMounts().map(({ mountpoint }) => mountpoint))
  if (mounted.has(realMountpoint(place))) return place
  const absolute = path.resolve(place)
  const parent = path.dirname(absolute)
  return parent === absolute ? undefined : mountAround(parent)
}
