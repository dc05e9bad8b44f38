/**
 * Who has a file of the mount open or mapped, as /proc tells it. Asks no file system but /proc, and none of the mount's own files: their daemon is who asks.
 *
 * A process that is just changing its own memory map may hold up who reads it: so that is read on the libuv pool, and not waited for for ever.
 */
import { promises as fs } from 'node:fs'

/** So long one process may take to tell what it has mapped. */
const PATIENCE_MS = 1000

interface File {
  /** `major:minor` of the mount. */
  readonly device: string
  /** As the mount shows it. */
  readonly ino: bigint
}

export interface Users {
  readonly pids: readonly number[]
  /** There are processes that cannot be looked into. */
  readonly isPartial: boolean
}

/** Processes that have the file mapped; `sharedWritable`: so that their stores reach it. */
export function mappers(file: File, sharedWritable: boolean): Promise<Users> {
  const [major = 0, minor = 0] = file.device.split(':').map(Number)
  const device = `${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')}`
  const mark = new RegExp(`^\\S+ ${sharedWritable ? '.w.s' : '\\S{4}'} \\S+ ${device} ${file.ino}\\b`, 'm')
  return processesThat(async (pid) => mark.test(await within(fs.readFile(`/proc/${pid}/maps`, 'latin1'))))
}

/** Processes that have the file open. Told by inode number and mount, as far as this name space of mounts shows it. */
export async function openers(file: File): Promise<Users> {
  const mounts = await fs.readFile('/proc/self/mountinfo', 'latin1')
  const ids = mounts.split('\n').filter((line) => line.split(' ')[2] === file.device)
  const mounted = new Set(ids.map((line) => line.split(' ')[0]))
  return processesThat(async (pid) => {
    for (const fd of await fs.readdir(`/proc/${pid}/fdinfo`)) {
      const info = await fs.readFile(`/proc/${pid}/fdinfo/${fd}`, 'latin1').catch(() => '')
      const isIts = /^ino:\s*(\d+)$/m.exec(info)?.[1] === String(file.ino)
      if (isIts && mounted.has(/^mnt_id:\s*(\d+)$/m.exec(info)?.[1] ?? '')) return true
    }
    return false
  })
}

async function processesThat(does: (pid: number) => Promise<boolean>): Promise<Users> {
  const pids: number[] = []
  let isPartial = false
  for (const name of await fs.readdir('/proc')) {
    const pid = Number(name)
    if (!(pid > 0) || pid === process.pid) continue
    try {
      if (await does(pid)) pids.push(pid)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // Gone meanwhile, or a zombie: it has nothing any more.
      if (code !== 'ENOENT' && code !== 'ESRCH') isPartial = true
    }
  }
  return { pids, isPartial }
}

async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('does not answer')), PATIENCE_MS)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
