/**
 * Creating files, and writing to them, as the client who asked. What is created must belong to him with the semantics of the file system below: set-group-id
 * directories, default ACLs, quotas, his umask. So the thread takes on his identity for the length of the creating call; the file system then
 * does what it does natively.
 *
 * The kernel has checked permissions already (default_permissions); below they are checked again, as his. Privileges that a
 * client has without being root are not passed on.
 *
 * Context: one per worker thread; its identity is that thread's alone.
 */
import fs from 'node:fs'
import type { Request } from '../fuse/messages.ts'
import { ownUmask, setFsGid, setFsUid, setThreadGroups, setUmask, threadGroups } from '../linux/identity.ts'
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
function groupsOf(pid: number): Uint32Array {
  if (pid === 0) return NONE
  let status: string
  try {
    status = fs.readFileSync(`/proc/${pid}/status`, 'latin1')
  } catch {
    return NONE
  }
  return groupsIn(status)
}

/** The supplementary groups in the text of a /proc/PID/status: the numbers on that one line, which has none for who has none. */
export function groupsIn(status: string): Uint32Array {
  const groups = /^Groups:(.*)$/m.exec(status)?.[1]?.trim()
  return groups ? Uint32Array.from(groups.split(/\s+/), Number) : NONE
}
