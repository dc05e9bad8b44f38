/** What a process has mapped, as the kernel tells of it. */
import fs from 'node:fs'

interface Mapping {
  readonly start: number
  readonly bytes: number
  readonly residentBytes: number
  readonly hugeBytes: number
  /** Two letters each, as in /proc/PID/smaps: `hg`, to have huge pages. */
  readonly flags: readonly string[]
}

export function mappingsOf(pid: number | 'self'): Mapping[] {
  const texts = fs.readFileSync(`/proc/${pid}/smaps`, 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
  return texts.map((text) => {
    const bytes = (name: string) => 1024 * Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1])
    return {
      start: Number.parseInt(text, 16),
      bytes: bytes('Size'),
      residentBytes: bytes('Rss'),
      hugeBytes: bytes('AnonHugePages'),
      flags: /^VmFlags: (.*)$/m.exec(text)?.[1]?.trim().split(' ') ?? [],
    }
  })
}

/**
 * Memory that was taken with `takeMemory`: no other has these flags, not to be inherited (`dc`), reserved for (`nr`), and with huge pages (`hg`) or without them (`nh`) because somebody
 * said so.
 */
export function arenasOf(pid: number | 'self'): Mapping[] {
  return mappingsOf(pid).filter(
    ({ flags }) => flags.includes('dc') && flags.includes('nr') && (flags.includes('hg') || flags.includes('nh')),
  )
}

/** Bytes of memory that the arenas of this process have. */
export function arenaBytes(): number {
  return arenasOf('self').reduce((sum, { residentBytes }) => sum + residentBytes, 0)
}

/** Huge pages that the kernel has split so far, all processes'. */
export function splitHugePages(): number {
  return Number(/^thp_split_page (\d+)$/m.exec(fs.readFileSync('/proc/vmstat', 'latin1'))?.[1] ?? 0)
}
