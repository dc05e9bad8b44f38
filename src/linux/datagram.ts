/** Sending one datagram to a Unix socket, as systemd and the system log take them; Node.js has no such sockets. */
import { ERRNO } from './errors.ts'
import { close, O_CLOEXEC, O_NONBLOCK } from './file.ts'
import { errnoOf, libc, type Pointer } from './native.ts'

const AF_UNIX = 1
const SOCK_DGRAM = 2
const MSG_NOSIGNAL = 0x4000
/** sizeof sun_path. */
const PATH_BYTES_MAX = 108

const socketCall = libc<[domain: number, type: number, protocol: number]>('socket', 'int', ['int', 'int', 'int'])
const sendtoCall = libc<
  [fd: number, data: Pointer, length: number, flags: number, address: Pointer, addressLength: number]
>('sendto', 'long', ['int', 'void*', 'size_t', 'int', 'void*', 'uint'])

/**
 * Sends `text` to the datagram socket at `address`: a path, or `@name` for an abstract one. Returns 0 or -errno: ENOENT or
 * ECONNREFUSED where nobody listens, ENAMETOOLONG, EAGAIN where the listener does not keep up, unless `waits`. Any thread.
 */
export function sendDatagram(address: string, text: string, waits = false): number {
  const name = Buffer.from(address)
  const isAbstract = address.startsWith('@')
  if (name.length >= PATH_BYTES_MAX) return -ERRNO.ENAMETOOLONG
  // struct sockaddr_un: family u16, path; an abstract name begins with NUL and ends with the length.
  const socketAddress = Buffer.alloc(2 + name.length + (isAbstract ? 0 : 1))
  socketAddress.writeUInt16LE(AF_UNIX, 0)
  name.copy(socketAddress, 2)
  if (isAbstract) socketAddress[2] = 0

  const fd = errnoOf(socketCall(AF_UNIX, SOCK_DGRAM | O_CLOEXEC | (waits ? 0 : O_NONBLOCK), 0))
  if (fd < 0) return fd
  const data = Buffer.from(text)
  const sent = errnoOf(sendtoCall(fd, data, data.length, MSG_NOSIGNAL, socketAddress, socketAddress.length))
  close(fd)
  return Math.min(sent, 0)
}
