/** What the mount agrees on with the kernel, before anything is served. */
import type { Session } from '../../fuse/init.ts'
import { MINOR_VERSION_EPOCH } from '../../fuse/protocol.ts'
import { ERRNO } from '../../linux/errors.ts'
import { backingClose, backingOpen } from '../../linux/fuse-device.ts'
import { negotiate } from '../negotiate.ts'
import type { ServingStart } from '../shared-state.ts'

/** Waits for the kernel's INIT and answers it. Throws as {@link negotiate} does. Blocks. */
export function agreeWithKernel(start: ServingStart): Session {
  const session = negotiate(start.fuseFd, {
    passthrough: start.passthrough && start.privileged,
    posixAcl: true,
    writable: start.writable,
    maxReadBytes: start.maxReadBytes,
  })
  session.passthrough &&= mayRegister(start.fuseFd, start.sourceFd)
  return session
}

/** Whether files may be registered for passthrough: not by the root of a user namespace. */
function mayRegister(fuseFd: number, sourceFd: number): boolean {
  const result = backingOpen(fuseFd, sourceFd)
  if (result > 0) backingClose(fuseFd, result)
  // The kernel looks at privileges first; then it refuses a directory with another error.
  return result !== -ERRNO.EPERM
}

/**
 * For how long the kernel may believe names and attributes. After an overflow of the watch's queue all names are to be looked up again: a kernel that
 * cannot be told so is not to believe them for long.
 */
export function believableSeconds({ watch, timeoutSeconds }: ServingStart, { minor }: Session): number {
  return watch && minor < MINOR_VERSION_EPOCH ? Math.min(timeoutSeconds, 1) : timeoutSeconds
}
