/**
 * How short memory is, as Linux tells: PSI, and the limits of the memory cgroups that the process lies in, of version 1 or 2.
 *
 * ```
 *   /proc/self/cgroup   4:memory:/a/b   →  /sys/fs/cgroup/memory/a/b, …/a, …   version 1
 *                       0::/a/b         →  /sys/fs/cgroup/a/b, …/a, …          version 2; beside version 1 below /sys/fs/cgroup/unified
 * ```
 * A limit is of all that lies in the group, so those further up count as well.
 */
import fs from 'node:fs'
import path from 'node:path'

/** For tests another can be given. */
export interface PressureSigns {
  /** Percent of the last ten seconds in which somebody waited for memory; undefined where nobody tells. */
  some(): number | undefined
  /** What the limits leave; undefined where there is none. */
  room(): MemoryRoom | undefined
}

interface MemoryRoom {
  /** Memory in use, as a share of what may be used: of the fullest group. */
  readonly fill: number
  /** The least that a group has left. Negative where it has taken more. */
  readonly bytesLeft: number
}

interface MemoryCgroup {
  readonly directory: string
  readonly files: typeof VERSION_1 | typeof VERSION_2
}

/** Names of files, and of fields in memory.stat. */
const VERSION_1 = {
  limits: ['memory.limit_in_bytes'],
  used: 'memory.usage_in_bytes',
  file: 'total_cache',
  shmem: 'total_shmem',
} as const
const VERSION_2 = {
  limits: ['memory.max', 'memory.high'],
  used: 'memory.current',
  file: 'file',
  shmem: 'shmem',
} as const

export class LinuxSigns implements PressureSigns {
  /** The process's own first. */
  readonly #groups: readonly MemoryCgroup[]
  readonly #pressureFiles: readonly string[]

  /** `root`: where proc and sys lie, for tests. */
  constructor(root = '/') {
    const mounts = path.join(root, 'sys/fs/cgroup')
    const own = read(path.join(root, 'proc/self/cgroup')) ?? ''
    const mount2 = fs.existsSync(`${mounts}/unified`) ? `${mounts}/unified` : mounts
    const groups2 = groupsUpwards(mount2, /^0::(.*)$/m.exec(own)?.[1])
    const groups1 = groupsUpwards(`${mounts}/memory`, /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(own)?.[1])
    this.#groups = [
      ...groups2.map((directory) => ({ directory, files: VERSION_2 })),
      ...groups1.map((directory) => ({ directory, files: VERSION_1 })),
    ]
    this.#pressureFiles = [
      ...groups2.slice(0, 1).map((directory) => `${directory}/memory.pressure`),
      path.join(root, 'proc/pressure/memory'),
    ]
  }

  some(): number | undefined {
    for (const file of this.#pressureFiles) {
      const match = /^some avg10=([\d.]+)/.exec(read(file) ?? '')
      if (match !== null) return Number(match[1])
    }
    return undefined
  }

  room(): MemoryRoom | undefined {
    let room: MemoryRoom | undefined
    for (const group of this.#groups) {
      const its = roomIn(group)
      if (its === undefined) continue
      room = {
        fill: Math.max(its.fill, room?.fill ?? 0),
        bytesLeft: Math.min(its.bytesLeft, room?.bytesLeft ?? its.bytesLeft),
      }
    }
    return room
  }
}

function roomIn({ directory, files }: MemoryCgroup): MemoryRoom | undefined {
  const numberIn = (file: string) => Number(read(`${directory}/${file}`) ?? Number.NaN)
  const limit = Math.min(...files.limits.map(numberIn).filter(Number.isFinite))
  const used = numberIn(files.used)
  if (!Number.isFinite(limit) || !(used > 0)) return undefined
  // The kernel's own cache of files fills every cgroup, and gives way by itself. Shared memory counts as file, and does not.
  const stat = read(`${directory}/memory.stat`) ?? ''
  const bytes = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0)
  const counted = used - (bytes(files.file) - bytes(files.shmem)) - bytes('slab_reclaimable')
  return { fill: counted / limit, bytesLeft: limit - counted }
}

/** The directories of the cgroup `own` and of those that it lies in, up to where they are mounted. */
function groupsUpwards(mount: string, own: string | undefined): string[] {
  if (own === undefined) return []
  let directory = path.join(mount, own)
  // In a container it may be the path outside of it: what is mounted there is the container's own.
  if (!directory.startsWith(mount) || !fs.existsSync(directory)) directory = mount
  const directories: string[] = []
  for (; directory.length >= mount.length; directory = path.dirname(directory))
    directories.push(directory.replace(/\/$/, ''))
  return directories
}

function read(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
