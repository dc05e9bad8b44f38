/** DAX: files and devices whose bytes a processor reads and writes where they lie. */
import fs from 'node:fs'
import { STATX_ATTR, Statx } from './statx.ts'

const stat = new Statx()

/** Whether what `fd` is open on is read and written in place: STATX_ATTR_DAX, never the mount option. */
export function isDax(fd: number): boolean {
  return stat.ofFd(fd) === 0 && (stat.attributesLow & STATX_ATTR.DAX) !== 0
}

/** A device DAX: `/dev/daxX.Y`. */
export interface DaxDevice {
  readonly bytes: number
  /** Mappings begin and end at multiples of this. */
  readonly alignBytes: number
}

/** What `fd` is open on, if that is a device DAX. */
export function daxDevice(fd: number): DaxDevice | undefined {
  if (stat.ofFd(fd) !== 0 || !stat.isSpecial) return undefined
  const directory = `/sys/dev/char/${stat.rdevMajor}:${stat.rdevMinor}`
  try {
    if (!fs.realpathSync(`${directory}/subsystem`).endsWith('/dax')) return undefined
    const read = (name: string) => Number(fs.readFileSync(`${directory}/${name}`, 'latin1'))
    return { bytes: read('size'), alignBytes: fs.existsSync(`${directory}/align`) ? read('align') : 2 ** 21 }
  } catch {
    return undefined
  }
}
