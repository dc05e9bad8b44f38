/** From what a user calls a mountpoint to its path in the list of mounts. The mount itself is not touched: it may be dead, or hang. */
import fs from 'node:fs'
import path from 'node:path'
import { controlSocket, deviceOfControl, socketOfDevice, socketPath } from '../daemon/control-socket.ts'
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
 * The control socket of the mount at `mountpoint`; a path that does not exist where there is none. It goes by the mount's device: the name of the place is that where it was made, and other mounts
 * may be there now. Where nothing is mounted the name is all there is, of a mount that was detached, or is in another mount name space.
 */
export function socketOf(mountpoint: string): string {
  const mounts = samepageMounts()
  const mount = mounts.findLast((other) => other.mountpoint === mountpoint)
  const none = controlSocket(mountpoint, 0, '')
  if (mount !== undefined) return socketOfDevice(mount.device) ?? none
  const socket = socketPath(mountpoint)
  // Made here, and moved since.
  return mounts.some(({ device }) => device === deviceOfControl(socket)) ? none : socket
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
