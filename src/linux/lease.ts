/**
 * Has anybody a file open for writing? The kernel tells by whether it grants a read lease.
 *
 * Why we ask: a write stamps the file's ctime when it starts. What is found out about a file while a write is under way
 * would carry a ctime that the rest of that write does not change any more. A shared writable mapping counts as open, and
 * so does a write whose descriptor was closed after it began: the kernel counts open files, not descriptors.
 */
import { ERRNO } from './errors.ts'
import { fcntl } from './fcntl.ts'

const F_SETSIG = 10
const F_SETLEASE = 1024
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2
/** Ignored unless somebody asks for it: a lease that is broken while we hold it must not kill us, as SIGIO would. */
const SIGURG = 23

/**
 * Was what `fd` is open on (for reading only) open for writing anywhere on this machine, at one instant during the call?
 * undefined: cannot be told (not our file and no CAP_LEASE, no regular file, leases switched off or not known to the file
 * system). The lease is given back at once; somebody who opens the file for writing in between waits those microseconds,
 * or with O_NONBLOCK gets EAGAIN. Any thread; nothing is allocated.
 */
export function isOpenForWriting(fd: number): boolean | undefined {
  return isLeaseRefused(fd, F_RDLCK)
}

/**
 * The same, of whether it was open or mapped anywhere in any way but as `fd`. Who opens it in between for whatever waits those microseconds, or with
 * O_NONBLOCK gets EAGAIN.
 */
export function isOpenElsewhere(fd: number): boolean | undefined {
  return isLeaseRefused(fd, F_WRLCK)
}

function isLeaseRefused(fd: number, type: number): boolean | undefined {
  if (fcntl(fd, F_SETSIG, SIGURG) < 0) return undefined
  const error = fcntl(fd, F_SETLEASE, type)
  if (error === 0) {
    fcntl(fd, F_SETLEASE, F_UNLCK)
    return false
  }
  return error === -ERRNO.EAGAIN ? true : undefined
}
