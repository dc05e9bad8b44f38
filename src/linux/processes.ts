/** How processes descend from one another, as /proc tells it. */
import fs from 'node:fs'

/** More generations are a circle of numbers that were given out again. */
const GENERATIONS_MAX = 100

/** Whether process or thread `pid` is process `ancestor`, or was started by it, or by one that was. False where that cannot be seen. */
export function descendsFrom(pid: number, ancestor: number): boolean {
  if (pid <= 0 || ancestor <= 0) return false
  try {
    for (let next = pid, i = 0; next > 1 && i < GENERATIONS_MAX; i++) {
      if (next === ancestor) return true
      const status = fs.readFileSync(`/proc/${next}/status`, 'latin1')
      const process = Number(/^Tgid:\s*(\d+)$/m.exec(status)?.[1])
      if (process === ancestor) return true
      next = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1])
    }
  } catch {
    // Gone meanwhile.
  }
  return false
}
