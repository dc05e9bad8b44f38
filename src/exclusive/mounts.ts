/** Samepage mounts, as their clients find them. */
import fs from 'node:fs'
import path from 'node:path'
import { type MountInfo, readMountInfo } from '../linux/mountinfo.ts'
import { isTrusted, ROOT_DIRECTORY, runtimeDirectory } from '../util/runtime-directory.ts'

/** The type that the mount has in /proc/mounts; by it Samepage's mounts are told from others. */
export const FS_TYPE = 'fuse.samepage'

const SUFFIX = '.grants'

/**
 * Where clients ask a mount for grants, by `major:minor` of the mount; the mounts of root are for all who are let in. Who cannot reach it can have none.
 */
export function grantSocket(device: string, directory = runtimeDirectory()): string {
  return path.join(directory, `${device}${SUFFIX}`)
}

/** Where that can be, for who did not make the mount. */
export function grantSockets(device: string): string[] {
  return [...new Set([ROOT_DIRECTORY, runtimeDirectory()])]
    .filter(isTrusted)
    .map((directory) => grantSocket(device, directory))
}

/** The mount whose socket lies at `socket`, by its name: `major:minor`; undefined where it is none. */
export function deviceOfSocket(socket: string): string | undefined {
  const name = path.basename(socket)
  return isGrantSocket(name) ? name.slice(0, -SUFFIX.length) : undefined
}

/** Whether a file of that name is a socket for grants. */
export const isGrantSocket = (name: string): boolean => name.endsWith(SUFFIX)

/** The file system that `path` lies in, as `major:minor`. Throws as stat(2). */
export function deviceOf(path: string): string {
  return deviceName(fs.statSync(path).dev)
}

/** A device number of stat(2) as `major:minor`. */
export function deviceName(dev: number): string {
  return `${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`
}

/** All Samepage mounts, in the order in which they hide one another. */
export const samepageMounts = (): MountInfo[] => readMountInfo().filter(({ type }) => type === FS_TYPE)

/** The Samepage mount of that device; undefined where it is none. */
export const samepageMount = (device: string): MountInfo | undefined =>
  samepageMounts().findLast((mount) => mount.device === device)

/** Whether this process's user made the FUSE mount. */
export const isOwn = ({ superOptions }: MountInfo): boolean => superOptions.includes(`user_id=${process.geteuid?.()}`)
