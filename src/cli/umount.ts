/** `samepage umount`. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { isAlive, removeDeadSockets, socketPath, supervisorOf } from '../daemon/control-socket.ts'
import { removeAllDeadSockets } from '../daemon/dead-sockets.ts'
import { mountAt, unmountFuse, unmountPatiently } from '../daemon/mounting.ts'
import { grantSocket, samepageMount, samepageMounts } from '../exclusive/mounts.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { UserError } from '../util/user-error.ts'
import { givenPath } from './arguments.ts'
import { realMountpoint } from './mountpoint.ts'

/** How long to wait for the daemon: dropping homes in many pieces takes btrfs seconds. */
const END_MS = 30_000

export function umountCommand(): Command {
  return new Command('umount')
    .summary('end a mount')
    .description(
      'Ends the Samepage mount at MOUNTPOINT. Also clears a mount whose daemon has died. The source is untouched.',
    )
    .argument('<mountpoint>', 'where it is mounted', givenPath)
    .option(
      '-l, --lazy',
      'detach it now, even while programs have files open there; they are served until they close them',
    )
    .option('--if-mounted', 'do nothing, and succeed, where there is no Samepage mount')
    .addHelpText('after', '\nExit status: 0 unmounted · 1 busy, or no Samepage mount · 2 wrong use.')
    .action(async (argument: string, flags: { lazy?: true; ifMounted?: true }) => {
      const mountpoint = realMountpoint(argument)
      const mount = mountAt(mountpoint)
      if (mount === undefined) {
        // Of a mount that died, and was cleared by umount(8).
        removeDeadSockets(mountpoint)
        await removeAllDeadSockets()
        if (flags.ifMounted) return
        throw notMounted(argument)
      }
      const supervisor = supervisorOf(socketPath(mountpoint))
      try {
        if (flags.lazy) unmountFuse(mountpoint, true)
        else await unmountPatiently(mountpoint)
      } catch (error) {
        if (error instanceof SystemError && error.errno === -ERRNO.EBUSY)
          throw new UserError(
            `${mountpoint} is in use (lsof +f -- ${mountpoint} tells by whom): close those programs, or use --lazy`,
          )
        if (error instanceof SystemError && error.errno === -ERRNO.EPERM)
          throw new UserError(`${mountpoint} was mounted by another user: only that user and root may unmount it`)
        throw error
      }
      // Until then it holds the source, and whoever wants to unmount that next is told that it is busy.
      if (!flags.lazy) await ended(supervisor)
      // Left behind only where the daemon was killed.
      removeDeadSockets(mountpoint)
      if (!isAlive(supervisor) && samepageMount(mount.device) === undefined)
        fs.rmSync(grantSocket(mount.device), { force: true })
      await removeAllDeadSockets()
    })
}

/** Waits until the process is no more, or for {@link END_MS}. 0: there is none. */
async function ended(process: number): Promise<void> {
  const deadline = Date.now() + END_MS
  while (process !== 0 && isAlive(process) && Date.now() < deadline) await sleep(10)
}

function notMounted(argument: string): UserError {
  const others = samepageMounts().map(({ mountpoint }) => mountpoint)
  return new UserError(
    `${argument} is no Samepage mount${others.length === 0 ? '; there is none' : `; there are: ${others.join(', ')}`}`,
  )
}
