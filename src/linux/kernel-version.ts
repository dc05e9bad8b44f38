/** The kernel's version, where nothing else tells what it can do. */
import os from 'node:os'

/** Whether this kernel is older than `major.minor`. */
export function isKernelOlder(major: number, minor: number): boolean {
  const [haveMajor = 0, haveMinor = 0] = os.release().split('.').map(Number.parseFloat)
  return haveMajor < major || (haveMajor === major && haveMinor < minor)
}
