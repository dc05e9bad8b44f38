/** `samepage umount`. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { isAlive, removeDeadSockets, supervisorOf } from '../daemon/control-socket.ts'
import { removeAllDeadSockets } from '../daemon/dead-sockets.ts'
import { findMount, identityOf, isCovered, mountAt, unmountFuse, unmountPatiently } from '../daemon/mounting.ts'
import { grantSocket, samepageMount, samepageMounts } from '../exclusive/mounts.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import type { MountInfo } from '../linux/mountinfo.ts'
import { UserError } from '../util/user-error.ts'
import { givenPath } from './arguments.ts'
import { realMountpoint, socketOf } from './mountpoint.ts'

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
    .addHelpText('after', '\nExit status: 0 unmounted · 1 busy, still served, or no Samepage mount · 2 wrong use.')
    .action(async (argument: string, flags: { lazy?: true; ifMounted?: true }) => {
      const mountpoint = realMountpoint(argument)
      const mount = mountAt(mountpoint)
      if (mount === undefined) {
        // Of a mount that died, and was cleared by umount(8).
        removeDeadSockets(mountpoint)
        await removeAllDeadSockets()
        if (samepageMounts().some((covered) => covered.mountpoint === mountpoint)) throw isCovered(mountpoint)
        if (flags.ifMounted) return
        throw notMounted(argument)
      }
      const supervisor = supervisorOf(socketOf(mountpoint))
      // Bind mounts, say.
      const copies = samepageMounts().filter(({ device, id }) => device === mount.device && id !== mount.id)
      const identity = identityOf(mount)
      try {
        if (flags.lazy) unmountFuse(identity, true)
        else await unmountPatiently(identity)
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
      const isLeft = !flags.lazy && !(await ended(supervisor, copies))
      // Left behind only where the daemon was killed.
      removeDeadSockets(mountpoint)
      if (!isAlive(supervisor) && samepageMount(mount.device) === undefined)
        fs.rmSync(grantSocket(mount.device), { force: true })
      await removeAllDeadSockets()
      if (isLeft) throw stillServed(mount, copies, supervisor)
    })
}

/**
 * Waits until the supervisor is no more, and tells whether it is; 0: there is none. Not longer than {@link END_MS}, and not where
 * there are `copies` of the mount, which it serves on.
 */
async function ended(supervisor: number, copies: readonly MountInfo[]): Promise<boolean> {
  const deadline = Date.now() + END_MS
  while (supervisor !== 0 && isAlive(supervisor)) {
    if (Date.now() >= deadline || copies.some(findMount)) return false
    await sleep(10)
  }
  return true
}

function stillServed({ mountpoint, device }: MountInfo, copies: readonly MountInfo[], supervisor: number): UserError {
  const places = copies.filter(findMount).map((copy) => copy.mountpoint)
  const why =
    places.length > 0
      ? `it is mounted at ${places.join(', ')}, too: unmount it there`
      : `it is in use in another mount name space (grep -l ' ${device} / ' /proc/*/mountinfo tells by whom), or its daemon does not end`
  return new UserError(
    `${mountpoint} is unmounted, but process ${supervisor} goes on, and has the source in use: ${why}; or end it with "kill ${supervisor}"`,
  )
}

function notMounted(argument: string): UserError {
  const others = samepageMounts().map(({ mountpoint }) => mountpoint)
  return new UserError(
    `${argument} is no Samepage mount${others.length === 0 ? '; there is none' : `; there are: ${others.join(', ')}`}`,
  )
}
