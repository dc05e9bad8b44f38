/**
 * Memory pressure, as the kernel tells: a cache that can be read anew gives way to what cannot.
 *
 * Two signs: PSI (`some avg10` of /proc/pressure/memory, or of the cgroup: the share of time in which somebody waited for memory), and how near the cgroup is to its
 * limit. Under pressure the cache shrinks by a quarter a second, down to an eighth; without, it grows back by a sixteenth a second.
 *
 * Linux. Where neither can be read nothing happens.
 */
import fs from 'node:fs'

const LOOK_MS = 1000
/** Percent of time. */
const PRESSURE_HIGH = 5
const PRESSURE_LOW = 1
/** Of the cgroup's limit. */
const FULL = 0.95
const ROOMY = 0.85
const SHARE_MIN = 1 / 8

/** Reads the signs; undefined where there is none. For tests another can be given. */
interface PressureSigns {
  /** Percent of the last ten seconds in which somebody waited for memory. */
  some(): number | undefined
  /** Memory of the cgroup in use, as a share of what it may use. */
  fill(): number | undefined
}

/** Calls `resize` with the share of its memory that the cache may have, whenever that changes. Returns what ends it. */
export function watchPressure(resize: (share: number) => void, signs: PressureSigns = new LinuxSigns()): () => void {
  let share = 1
  const timer = setInterval(() => {
    const next = nextShare(share, signs.some() ?? 0, signs.fill() ?? 0)
    if (next === share) return
    share = next
    resize(share)
  }, LOOK_MS)
  timer.unref()
  return () => clearInterval(timer)
}

/** The share after a look that found `some` and `fill`. */
export function nextShare(share: number, some: number, fill: number): number {
  if (some > PRESSURE_HIGH || fill > FULL) return Math.max(SHARE_MIN, share * 0.75)
  if (some < PRESSURE_LOW && fill < ROOMY) return Math.min(1, share + 1 / 16)
  return share
}

class LinuxSigns implements PressureSigns {
  readonly #cgroup = cgroupDirectory()

  some(): number | undefined {
    const text = read(`${this.#cgroup}/memory.pressure`) ?? read('/proc/pressure/memory')
    const match = /^some avg10=([\d.]+)/.exec(text ?? '')
    return match === null ? undefined : Number(match[1])
  }

  fill(): number | undefined {
    const limits = ['memory.max', 'memory.high'].map((name) => Number(read(`${this.#cgroup}/${name}`) ?? Number.NaN))
    const limit = Math.min(...limits.filter((bytes) => Number.isFinite(bytes)))
    const used = Number(read(`${this.#cgroup}/memory.current`) ?? Number.NaN)
    if (!Number.isFinite(limit) || !(used > 0)) return undefined
    // The kernel's own cache of files fills every cgroup, and gives way by itself. Shared memory counts as file, and does not.
    const stat = read(`${this.#cgroup}/memory.stat`) ?? ''
    const bytes = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0)
    return (used - (bytes('file') - bytes('shmem')) - bytes('slab_reclaimable')) / limit
  }
}

/** Of this process, in cgroup v2. */
function cgroupDirectory(): string {
  const path = /^0::(.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1] ?? '/'
  return `/sys/fs/cgroup${path === '/' ? '' : path}`
}

function read(path: string): string | undefined {
  try {
    return fs.readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
