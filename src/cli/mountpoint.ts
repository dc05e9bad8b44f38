/** From what a user calls a mountpoint to its path in the list of mounts. The mount itself is not touched: it may be dead, or hang. */
import fs from 'node:fs'
import path from 'node:path'
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

/** What is said of a mount that nobody serves any more (ENOTCONN). */
export const hasDied = (mountpoint: string): UserError =>
  new UserError(`${mountpoint} is a mount whose daemon has died: "samepage umount ${mountpoint}" clears it`)
