/** What another process has open, as /proc tells it. Asks no file system but /proc, so a server may look at its own clients. */
import fs from 'node:fs'
import { O_ACCMODE, O_RDONLY } from './file.ts'

/** Whether process or thread `pid` has a file with this inode number, of whatever file system, open for writing. False where it cannot be seen. */
export function hasOpenForWriting(pid: number, ino: bigint): boolean {
  const directory = `/proc/${pid}/fdinfo`
  try {
    return fs.readdirSync(directory).some((fd) => {
      const info = fs.readFileSync(`${directory}/${fd}`, 'latin1')
      const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8)
      // Which file it is, is told since Linux 5.14; before that any that is open for writing may be this one.
      const told = /^ino:\s*(\d+)$/m.exec(info)?.[1]
      return (flags & O_ACCMODE) !== O_RDONLY && (told === undefined || BigInt(told) === ino)
    })
  } catch {
    return false
  }
}
