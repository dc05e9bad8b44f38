/** The arenas of a process, as the kernel tells of them. */
import fs from 'node:fs'

export interface ArenaMapping {
  readonly bytes: number
  readonly residentBytes: number
  readonly hugeBytes: number
}

/**
 * Memory that was taken with `takeMemory`: no other has these flags, not to be inherited (`dc`), reserved for (`nr`), and with huge pages (`hg`) or without them (`nh`) because somebody
 * said so.
 */
export function arenasOf(pid: number | 'self'): ArenaMapping[] {
  const arenas: ArenaMapping[] = []
  for (const mapping of fs.readFileSync(`/proc/${pid}/smaps`, 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const flags = /^VmFlags: (.*)$/m.exec(mapping)?.[1]?.trim().split(' ') ?? []
    if (!flags.includes('dc') || !flags.includes('nr') || !(flags.includes('hg') || flags.includes('nh'))) continue
    const bytes = (name: string) => 1024 * Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(mapping)?.[1])
    arenas.push({ bytes: bytes('Size'), residentBytes: bytes('Rss'), hugeBytes: bytes('AnonHugePages') })
  }
  return arenas
}
