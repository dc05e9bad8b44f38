/** The UUID of the file system under a descriptor, by the generic request of Linux 6.9. */
import { ioctl, ioctlRequest } from './ioctl.ts'

/** struct fsuuid2: u8 length, u8 uuid[16]. */
const FS_IOC_GETFSUUID = ioctlRequest('read', 0x15, 0, 17)

/** Hex digits, or undefined where the kernel or the file system has none to tell. `fd` not O_PATH. Any thread. */
export function fileSystemUuid(fd: number): string | undefined {
  const answer = Buffer.alloc(17)
  if (ioctl(fd, FS_IOC_GETFSUUID, answer) < 0) return undefined
  return answer.toString('hex', 1, 1 + answer[0]!)
}
