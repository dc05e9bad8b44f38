/**
 * Opening what should be a regular file, without ever hanging at a fifo: with O_NONBLOCK. Where somebody has a lease on the file (Samba, or whoever looks whether it is being written), that fails with EAGAIN
 * instead of waiting until the lease is given up: then it is opened again, and waits.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'

const { O_NONBLOCK } = fs.constants
const openFile = promisify(fs.open)

/** `flags`: as open(2) has them. Rejects with the system's error. */
export async function openRegular(path: string, flags: number): Promise<number> {
  try {
    return await openFile(path, flags | O_NONBLOCK)
  } catch (error) {
    if (!isLeased(error) || !(await fs.promises.stat(path)).isFile()) throw error
    return await openFile(path, flags)
  }
}

/** The same, blocking. */
export function openRegularSync(path: string, flags: number): number {
  try {
    return fs.openSync(path, flags | O_NONBLOCK)
  } catch (error) {
    if (!isLeased(error) || !fs.statSync(path).isFile()) throw error
    return fs.openSync(path, flags)
  }
}

function isLeased(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN'
}
