/** Device DAX: `/dev/daxX.Y`, memory of a device that can be mapped, and neither read nor written with system calls. */
import fs from 'node:fs'
import { Statx } from './statx.ts'

/** What the kernel takes where it does not tell. */
const ALIGN_BYTES = 2 ** 21

interface DaxDevice {
  readonly bytes: number
  /** Mappings begin and end at multiples of this. */
  readonly alignBytes: number
}

const stat = new Statx()

/** What `fd` is open on, if that is a device DAX; as sysfs tells. */
export function daxDevice(fd: number): DaxDevice | undefined {
  if (stat.ofFd(fd) !== 0 || !stat.isSpecial) return undefined
  const directory = `/sys/dev/char/${stat.rdevMajor}:${stat.rdevMinor}`
  try {
    if (!fs.realpathSync(`${directory}/subsystem`).endsWith('/dax')) return undefined
    const read = (name: string) => Number(fs.readFileSync(`${directory}/${name}`, 'latin1'))
    return { bytes: read('size'), alignBytes: fs.existsSync(`${directory}/align`) ? read('align') : ALIGN_BYTES }
  } catch {
    return undefined
  }
}
