/** The ioctl(2) by which a client shows a mount a file that it has open: see messages.ts. */
import { ioctlRequest } from '../linux/ioctl.ts'
import { KEY_BYTES } from './messages.ts'

/** Its argument is the key: shows the daemon that the caller has this file open. */
export const SHOW_FILE = ioctlRequest('write', 'S', 0x67, KEY_BYTES)
