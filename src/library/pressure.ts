/**
 * Memory pressure, as the kernel tells: a cache that can be read anew gives way to what cannot.
 *
 * Two signs: PSI (`some avg10` of /proc/pressure/memory, or of the cgroup: the share of time in which somebody waited for memory), and how near a cgroup is to its
 * limit. Under pressure the cache shrinks by a quarter, once a second, down to an eighth; without, it grows back by a sixteenth a second.
 *
 * A cache can be at the limit long before a second is over, and then the process is ended. So while it is filled one looks at the limit more often: whenever a quarter of what is left has come in. Where
 * pages only take the place of others it is the program's own memory that grows, if anything does: that is looked at less often. And not at all where the cache has shrunk as far as it does.
 *
 * Linux. Where no sign can be read nothing happens.
 */
import { LinuxSigns, type PressureSigns } from './pressure-signs.ts'

const LOOK_MS = 1000
/** Percent of time. */
const PRESSURE_HIGH = 5
const PRESSURE_LOW = 1
/** Of the cgroup's limit. */
const FULL = 0.95
const ROOMY = 0.85
const SHARE_MIN = 1 / 8
/** A look takes a fraction of what it takes to load so much. */
const LOOK_BYTES_MIN = 2 ** 20
/** Bytes that have taken the place of others count so many times less. */
const REPLACED = 8

export interface PressureWatch {
  /** So many bytes have come into the cache; `hasGrown`: its memory can have grown by them. */
  cached(bytes: number, hasGrown: boolean): void
  stop(): void
}

/** Calls `resize` with the share of its memory that the cache may have, whenever that changes. */
export function watchPressure(resize: (share: number) => void, signs: PressureSigns = new LinuxSigns()): PressureWatch {
  let share = 1
  let untilLook = Number.POSITIVE_INFINITY

  const look = (some: number) => {
    const { fill, bytesLeft } = signs.room() ?? { fill: 0, bytesLeft: Number.POSITIVE_INFINITY }
    untilLook = Math.max(LOOK_BYTES_MIN, bytesLeft / 4)
    return nextShare(share, some, fill)
  }
  const apply = (next: number) => {
    if (next === share) return
    share = next
    resize(share)
  }

  look(0)
  const timer = setInterval(() => apply(look(signs.some() ?? 0)), LOOK_MS)
  timer.unref()
  return {
    cached(bytes, hasGrown) {
      untilLook -= hasGrown ? bytes : bytes / REPLACED
      // Seconds are what growing back is counted in, and what PSI tells.
      if (untilLook <= 0 && share > SHARE_MIN) apply(Math.min(share, look(0)))
    },
    stop() {
      clearInterval(timer)
      // Loads may be under way, and the cache's memory be gone when they end.
      untilLook = Number.POSITIVE_INFINITY
    },
  }
}

/** The share after a look that found `some` and `fill`. */
export function nextShare(share: number, some: number, fill: number): number {
  if (some > PRESSURE_HIGH || fill > FULL) return Math.max(SHARE_MIN, share * 0.75)
  if (some < PRESSURE_LOW && fill < ROOMY) return Math.min(1, share + 1 / 16)
  return share
}
