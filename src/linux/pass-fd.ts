/** A pair of connected sockets, and receiving a descriptor over one of them (SCM_RIGHTS): how fusermount3 hands over /dev/fuse. */
import { addressOf, check, libc, type Pointer } from './native.ts'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_CMSG_CLOEXEC = 0x40000000

const socketpairCall = libc<[domain: number, type: number, protocol: number, out: Pointer]>('socketpair', 'int', [
  'int',
  'int',
  'int',
  'void*',
])
const recvmsgCall = libc<[fd: number, message: Pointer, flags: number]>('recvmsg', 'long', ['int', 'void*', 'int'])

/** Two connected stream sockets. Throws a SystemError. */
export function socketPair(): [number, number] {
  const out = new Int32Array(2)
  check(socketpairCall(AF_UNIX, SOCK_STREAM, 0, out), 'socketpair')
  return [out[0]!, out[1]!]
}

/**
 * Waits for one message that carries a descriptor; returns the descriptor, or undefined where the other side
 * closed without sending one. Blocks the thread.
 *
 * ```
 * struct msghdr (64-bit)  name *@0 · namelen u32 @8 · iov *@16 · iovlen u64 @24 · control *@32 · controllen u64 @40 · flags @48
 * struct cmsghdr          len u64 @0 · level i32 @8 · type i32 @12 · data @16
 * ```
 */
export function receiveDescriptor(socket: number): number | undefined {
  const data = new Uint8Array(8)
  const iovec = new BigUint64Array([addressOf(data), 8n])
  const control = new Int32Array(8)
  const header = new BigUint64Array(7)
  header[2] = addressOf(iovec)
  header[3] = 1n
  header[4] = addressOf(control)
  header[5] = BigInt(control.byteLength)
  const received = check(recvmsgCall(socket, header, MSG_CMSG_CLOEXEC), 'recvmsg')
  if (received <= 0 || control[2] !== SOL_SOCKET || control[3] !== SCM_RIGHTS) return undefined
  return control[4]
}
