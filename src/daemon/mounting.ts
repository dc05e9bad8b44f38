/**
 * Making and ending the mount: mount(2) as root, fusermount3 for everybody else.
 */
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { FS_TYPE, isOwn } from '../exclusive/mounts.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { openFuseDevice } from '../linux/fuse-device.ts'
import { MNT_DETACH, MNT_FORCE, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, mount, umount } from '../linux/mount.ts'
import { type MountInfo, mountIdsOf, readMountInfo } from '../linux/mountinfo.ts'
import { receiveWith, socketPair } from '../linux/unix-socket.ts'
import { UserError } from '../util/user-error.ts'

export interface MountOptions {
  /** Shown as the mount's source. */
  readonly source: string
  readonly target: string
  readonly allowOther: boolean
  readonly writable: boolean
  /** Set-id bits and capabilities of what is run there count for nothing. */
  readonly nosuid: boolean
  /** Devices there are not opened. */
  readonly nodev: boolean
  /** Nothing there is run. */
  readonly noexec: boolean
  readonly maxReadBytes: number
}

/**
 * Tells a mount from all others. Its path would not: directories above it are renamed, and other mounts come to lie over it. Nor do its id and its device: once it is gone, the
 * kernel gives both, the lowest that are free, to whatever is mounted next. Its unique id does. Where that is not known, no mount but one of the same type and source is taken for it, and none is unmounted but at the same path.
 */
export type MountIdentity = Pick<MountInfo, 'id' | 'device' | 'source' | 'mountpoint'> & { readonly uniqueId?: number }

interface Mounted {
  /** /dev/fuse of the connection. */
  readonly fuseFd: number
  readonly privileged: boolean
  readonly mount: MountIdentity
}

/** Of a mount that was gone before anybody looked. */
const NO_MOUNT: MountIdentity = { id: -1, device: '', source: '', mountpoint: '' }

/** Major 10, minor 229, as st_rdev has them. */
const FUSE_DEVICE = (10 << 8) | 229

const PATIENCE_MS = 1000
const PATIENCE_STEP_MS = 20

/** Mounts. Throws a {@link UserError} that says what to do, or a SystemError. */
export async function mountFuse(options: MountOptions): Promise<Mounted> {
  const isRoot = process.geteuid?.() === 0
  const fuseFd = isRoot ? mountAsRoot(options) : await mountAsUser(options)
  // Not whatever is on top there: somebody may have mounted over it since.
  const made = readMountInfo().findLast(
    ({ mountpoint, type, source }) => mountpoint === options.target && type === FS_TYPE && source === options.source,
  )
  return { fuseFd, privileged: isRoot, mount: made === undefined ? NO_MOUNT : identityOf(made) }
}

/** By which the mount, which has just been found in the list, is found again. */
export function identityOf({ id, device, source, mountpoint }: MountInfo): MountIdentity {
  const there = mountIdsOf(mountpoint)
  return { id, device, source, mountpoint, uniqueId: there?.id === id ? there.uniqueId : 0 }
}

/** The mount as it is now, under the path that leads to it now; undefined where it is unmounted. */
export function findMount(mount: MountIdentity): MountInfo | undefined {
  const { id, device, source, uniqueId } = mount
  const found = readMountInfo().find(
    (other) => other.id === id && other.device === device && other.type === FS_TYPE && other.source === source,
  )
  if (found === undefined || !uniqueId) return found
  // One that is covered cannot be looked at, and is not unmounted either.
  const there = mountIdsOf(found.mountpoint)
  return there?.id !== id || there.uniqueId === uniqueId ? found : undefined
}

/** What is said of a mount that no path leads to. */
export const isCovered = (mountpoint: string): UserError =>
  new UserError(`something else is mounted over the Samepage mount at ${mountpoint}: unmount that first`)

/** The Samepage mount at `target`, if one is on top there. The last in the list hides the others. */
export function mountAt(target: string): MountInfo | undefined {
  const top = readMountInfo().findLast(({ mountpoint }) => mountpoint === target)
  return top?.type === FS_TYPE ? top : undefined
}

function mountAsRoot(options: MountOptions): number {
  const fuseFd = openDevice()
  const data = [
    `fd=${fuseFd}`,
    'rootmode=40000',
    'user_id=0',
    'group_id=0',
    'default_permissions',
    ...(options.allowOther ? ['allow_other'] : []),
    `max_read=${options.maxReadBytes}`,
  ].join(',')
  try {
    const flags =
      (options.writable ? 0 : MS_RDONLY) |
      (options.nosuid ? MS_NOSUID : 0) |
      (options.nodev ? MS_NODEV : 0) |
      (options.noexec ? MS_NOEXEC : 0)
    mount(options.source, options.target, FS_TYPE, flags, data)
  } catch (error) {
    close(fuseFd)
    if (error instanceof SystemError && (error.code === 'EPERM' || error.code === 'EACCES'))
      throw new UserError(
        `this process may not mount (${error.code}): a container needs --cap-add SYS_ADMIN, and a security profile that allows mount`,
      )
    throw error
  }
  return fuseFd
}

function openDevice(): number {
  try {
    const fd = openFuseDevice()
    if (fs.fstatSync(fd).rdev === FUSE_DEVICE) return fd
    close(fd)
    throw new UserError('/dev/fuse is not the FUSE device: make it with "mknod /dev/fuse c 10 229"')
  } catch (error) {
    if (!(error instanceof SystemError)) throw error
    const hint =
      error.code === 'ENOENT' || error.code === 'ENODEV'
        ? 'the kernel has no FUSE: load the module with "modprobe fuse"; in a container start it with --device /dev/fuse'
        : 'in a container start it with --device /dev/fuse --cap-add SYS_ADMIN'
    throw new UserError(`cannot open /dev/fuse (${error.code}): ${hint}`)
  }
}

/** fusermount3 is set-uid root: it mounts where the user may write, and sends the descriptor back over a socket. */
async function mountAsUser(options: MountOptions): Promise<number> {
  const [ours, theirs] = socketPair()
  const flags = [
    options.writable ? 'rw' : 'ro',
    ...(options.nosuid ? ['nosuid'] : []),
    ...(options.nodev ? ['nodev'] : []),
    ...(options.noexec ? ['noexec'] : []),
    'default_permissions',
    `fsname=${escapeOption(options.source)}`,
    'subtype=samepage',
  ]
  if (options.allowOther) flags.push('allow_other')
  flags.push(`max_read=${options.maxReadBytes}`)
  const child = spawn('fusermount3', ['-o', flags.join(','), '--', options.target], {
    stdio: ['ignore', 'ignore', 'pipe', theirs],
    env: { ...process.env, _FUSE_COMMFD: '3' },
  })
  let complaint = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint += text
  })
  const status = await new Promise<number | Error>((resolve) => {
    child.once('error', resolve)
    child.once('close', (code) => resolve(code ?? 1))
  })
  close(theirs)
  try {
    if (status instanceof Error)
      throw new UserError('fusermount3 is needed to mount without root: install it (Debian: apt install fuse3)')
    const received: number[] = []
    if (status === 0) receiveWith(ours, new Uint8Array(8), received, true)
    const fuseFd = received[0]
    if (fuseFd === undefined)
      throw new UserError(complaint.trim().replaceAll('\n', '; ') || 'fusermount3 could not mount')
    return fuseFd
  } finally {
    close(ours)
  }
}

/**
 * Unmounts that mount, wherever it is now, and no other: with the next umount(2) a source that was covered would go. `lazy`: out of the name space at once, even where files are open.
 * Throws a SystemError (EBUSY: in use; EINVAL: it is unmounted), or a UserError where it cannot be unmounted.
 */
export function unmountFuse(mount: MountIdentity, lazy: boolean): void {
  const found = findMount(mount)
  if (found === undefined) throw new SystemError(ERRNO.EINVAL, 'umount')
  const target = found.mountpoint
  if (!mount.uniqueId && target !== mount.mountpoint)
    throw new UserError('it moved, and this kernel (before Linux 6.8) does not tell it from one that was mounted since')
  // By the path what lies on top would be unmounted. A descriptor of a mount that is covered is not to be had, and one from before would keep it in use.
  if (!isOnTop(mount, target)) throw isCovered(target)
  if (process.geteuid?.() === 0) {
    const error = umount(target, lazy ? MNT_DETACH : 0)
    if (error < 0) throw new SystemError(-error, 'umount', target)
    return
  }
  // fusermount3 says of those only that it does not know them.
  if (!isOwn(found)) throw new SystemError(ERRNO.EPERM, 'umount', target)
  const args = lazy ? ['-u', '-z', '--', target] : ['-u', '--', target]
  const { status, stderr, error } = spawnSync('fusermount3', args, { encoding: 'utf8' })
  if (error !== undefined) throw new UserError('fusermount3 is needed to unmount without root')
  if (status === 0) return
  if (/busy/i.test(stderr)) throw new SystemError(ERRNO.EBUSY, 'umount', target)
  throw new UserError(stderr.trim())
}

/**
 * Aborts the connection of the mount: all who wait for an answer get an error (ECONNABORTED). Does what the privileges allow, and
 * says nothing where they allow nothing.
 */
export function abortConnection(mount: MountIdentity): void {
  try {
    fs.writeFileSync(`/sys/fs/fuse/connections/${mount.device.split(':')[1]}/abort`, '1')
  } catch {
    // The control file system is not mounted everywhere. A forced unmount begins with the same, also where it then finds the mount busy.
    const found = findMount(mount)
    if (found !== undefined && isOnTop(mount, found.mountpoint)) umount(found.mountpoint, MNT_FORCE)
  }
}

/** Whether it is that mount, and no other, which umount(2) of `target` would end. */
function isOnTop({ id, uniqueId }: MountIdentity, target: string): boolean {
  const there = mountIdsOf(target)
  return there?.id === id && (!uniqueId || there.uniqueId === uniqueId)
}

/**
 * Unmounts, trying for a second where it is busy: programs that watch file systems (df, agents) hold each for a moment.
 * Throws as {@link unmountFuse} does.
 */
export async function unmountPatiently(mount: MountIdentity): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(PATIENCE_STEP_MS)) {
    try {
      unmountFuse(mount, false)
      return
    } catch (error) {
      const isBusy = error instanceof SystemError && error.errno === -ERRNO.EBUSY
      if (!isBusy || Date.now() >= deadline) throw error
    }
  }
}

const escapeOption = (text: string) => text.replace(/[\\,]/g, (character) => `\\${character}`)
