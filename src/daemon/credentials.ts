/**
 * Creating files, and writing to them, as the client who asked. What is created must belong to him with the semantics of the file system below: set-group-id
 * directories, default ACLs, quotas, his umask. So the thread takes on his identity for the length of the creating call; the file system then
 * does what it does natively.
 *
 * The kernel has checked permissions already (default_permissions), by attributes that may be old by `--timeout`; below they are checked again, as his. Of privileges that a
 * client has without being root, those count that creating takes: see {@link Credentials.creating}.
 *
 * Context: one per worker thread; its identity is that thread's alone.
 */
import fs from 'node:fs'
import type { Request } from '../fuse/messages.ts'
import { ERRNO } from '../linux/errors.ts'
import {
  CAPS_CREATING,
  ownUmask,
  raiseCapabilities,
  setFsGid,
  setFsUid,
  setThreadGroups,
  setUmask,
  threadGroups,
} from '../linux/identity.ts'
import { Statx } from '../linux/statx.ts'
import type { ServingOptions } from './shared-state.ts'

export class Credentials {
  readonly #privileged: boolean
  readonly #keepsForRoot: boolean
  readonly #groups: Uint32Array

  /** Where this process is not `privileged`, everything is created as who mounted. */
  constructor({ privileged, keepsForRoot }: Pick<ServingOptions, 'privileged' | 'keepsForRoot'>) {
    this.#privileged = privileged
    this.#keepsForRoot = keepsForRoot
    this.#groups = threadGroups()
    ownUmask()
  }

  /** Runs `call` as the client of `request`, with his umask where the request carries one. */
  as(request: Identity, umask: number, call: () => number): number {
    setUmask(umask)
    const { uid, gid } = request
    if (!this.#privileged || (uid === 0 && gid === 0)) return call()
    const groups = uid === 0 ? undefined : groupsOf(request.pid)
    try {
      if (groups !== undefined) setThreadGroups(groups)
      setFsGid(gid)
      setFsUid(uid)
      return call()
    } finally {
      setFsUid(0)
      setFsGid(0)
      if (groups !== undefined) setThreadGroups(this.#groups)
    }
  }

  /**
   * Runs `call`, which creates something in the directory `dirFd` and which the kernel has allowed the client, as him; returns its result or -errno. Where that is refused, he may have been
   * allowed it by a capability: as a privileged user, or as root of a user name space, over what belongs to somebody there. Who has none that holds in this directory is refused by what
   * holds below at this moment.
   */
  creating(request: Identity, umask: number, dirFd: number, call: () => number): number {
    return this.as(request, umask, () => {
      const result = call()
      if (!this.#privileged || (result !== -ERRNO.EACCES && result !== -ERRNO.EPERM)) return result
      const capabilities = capabilitiesIn(textOf(request.pid, 'status')) & CAPS_CREATING
      if (capabilities === 0 || !holdIn(request.pid, dirFd)) return result
      raiseCapabilities(capabilities)
      return call()
    })
  }

  /** Runs `call`, which writes to an open file, as the client of `request` where the file system may keep room for root: he is not to have it. */
  writing({ uid }: Identity, call: () => number): number {
    if (!this.#keepsForRoot || uid === 0) return call()
    try {
      setFsUid(uid)
      return call()
    } finally {
      setFsUid(0)
    }
  }

  /** Whether the client of `request` is in group `gid`. */
  isInGroup({ gid: own, pid }: Identity, gid: number): boolean {
    return own === gid || groupsOf(pid).includes(gid)
  }
}

/** Who asks: of a request, or of a connection. */
export type Identity = Pick<Request, 'uid' | 'gid' | 'pid'>

const NONE = new Uint32Array(0)

/** The supplementary groups of thread `pid`; none where it is gone, or in a name space that cannot be seen from here. */
const groupsOf = (pid: number): Uint32Array => groupsIn(textOf(pid, 'status'))

/** The text of a file of /proc/PID; empty where there is none to be seen from here. */
function textOf(pid: number, file: 'status' | 'uid_map' | 'gid_map'): string {
  if (pid === 0) return ''
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return ''
  }
}

/** The supplementary groups in such a text: the numbers on that one line, which has none for who has none. */
export function groupsIn(status: string): Uint32Array {
  const groups = /^Groups:(.*)$/m.exec(status)?.[1]?.trim()
  return groups ? Uint32Array.from(groups.split(/\s+/), Number) : NONE
}

/** The effective capabilities below 32 in such a text, as a mask. */
export function capabilitiesIn(status: string): number {
  const digits = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'
  return Number.parseInt(digits.slice(-8), 16) | 0
}

/**
 * Whether capabilities of thread `pid` hold in the directory `dirFd`: in a user name space they do over what belongs to a user and a group of it (the kernel's
 * capable_wrt_inode_uidgid). Anybody can make one in which he has them all.
 */
function holdIn(pid: number, dirFd: number): boolean {
  const stat = new Statx()
  if (stat.ofFd(dirFd) < 0) return false
  return isMapped(textOf(pid, 'uid_map'), stat.uid) && isMapped(textOf(pid, 'gid_map'), stat.gid)
}

/** Whether `id` is known in the name space of such a map, see user_namespaces(7): lines of the first id inside, the first outside, and how many. */
export function isMapped(map: string, id: number): boolean {
  return map.split('\n').some((line) => {
    const [, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number)
    return id >= outside && id < outside + count
  })
}
