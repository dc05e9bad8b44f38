/**
 * Unix stream sockets that carry descriptors (SCM_RIGHTS) and say who is at the other end (SO_PEERCRED); Node.js has neither. Nothing here
 * blocks but what says so. All return -errno on failure.
 */
import fs from 'node:fs'
import { ERRNO, SystemError } from './errors.ts'
import { close } from './file.ts'
import { addressOf, callAsync, check, errnoOf, libc, type NativeFunction, type Pointer, whileHeld } from './native.ts'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_PEERCRED = 17
const SO_SNDTIMEO = 21
const SCM_RIGHTS = 1
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const MSG_CMSG_CLOEXEC = 0x40000000
const SHUT_WR = 1
const SHUT_RDWR = 2
/** sizeof sun_path. */
const PATH_BYTES_MAX = 108
/** So many descriptors of one message are taken, more are closed by the kernel. */
const DESCRIPTORS_MAX = 4

const socketCall = libc<[domain: number, type: number, protocol: number]>('socket', 'int', ['int', 'int', 'int'])
const socketpairCall = libc<[domain: number, type: number, protocol: number, out: Pointer]>('socketpair', 'int', [
  'int',
  'int',
  'int',
  'void*',
])
const bindCall = libc<[fd: number, address: Pointer, length: number]>('bind', 'int', ['int', 'void*', 'uint'])
const connectCall = libc<[fd: number, address: Pointer, length: number]>('connect', 'int', ['int', 'void*', 'uint'])
const listenCall = libc<[fd: number, backlog: number]>('listen', 'int', ['int', 'int'])
const acceptCall = libc<[fd: number, address: null, length: null, flags: number]>('accept4', 'int', [
  'int',
  'void*',
  'void*',
  'int',
])
const shutdownCall = libc<[fd: number, how: number]>('shutdown', 'int', ['int', 'int'])
const sendmsgCall = libc<[fd: number, message: Pointer, flags: number]>('sendmsg', 'long', ['int', 'void*', 'int'])
const recvmsgCall = libc<[fd: number, message: Pointer, flags: number]>('recvmsg', 'long', ['int', 'void*', 'int'])
const getsockoptCall = libc<[fd: number, level: number, option: number, value: Pointer, length: Pointer]>(
  'getsockopt',
  'int',
  ['int', 'int', 'int', 'void*', 'void*'],
)
const setsockoptCall = libc<[fd: number, level: number, option: number, value: Pointer, length: number]>(
  'setsockopt',
  'int',
  ['int', 'int', 'int', 'void*', 'uint'],
)
const pollCall: NativeFunction<[fds: Pointer, count: number, timeoutMs: number], number> = libc('poll', 'int', [
  'void*',
  'long',
  'int',
])

/** Two connected stream sockets. Throws a SystemError. */
export function socketPair(): [number, number] {
  const out = new Int32Array(2)
  check(socketpairCall(AF_UNIX, SOCK_STREAM, 0, out), 'socketpair')
  return [out[0]!, out[1]!]
}

/** A socket that listens at `path`, which must not exist yet. */
export function listenUnix(path: string): number {
  const address = addressAt(path)
  if (address === undefined) return -ERRNO.ENAMETOOLONG
  const fd = errnoOf(socketCall(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
  if (fd < 0) return fd
  const bound = errnoOf(bindCall(fd, address, address.length))
  const error = bound < 0 ? bound : errnoOf(listenCall(fd, 128))
  if (error < 0) close(fd)
  return error < 0 ? error : fd
}

/**
 * A connection to who listens at `path`: -ENOENT or -ECONNREFUSED where nobody does, -EAGAIN where so many want one that there is none within `patienceMs`. Takes a thread of the libuv pool so long.
 */
export async function connectUnix(path: string, patienceMs: number): Promise<number> {
  const address = addressAt(path)
  if (address === undefined) return -ERRNO.ENAMETOOLONG
  const fd = errnoOf(socketCall(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
  if (fd < 0) return fd
  try {
    sendTimeout(fd, patienceMs)
    await callAsync(connectCall, 'connect', path, fd, address, address.length)
    sendTimeout(fd, 0)
    return fd
  } catch (error) {
    close(fd)
    if (error instanceof SystemError) return error.errno
    throw error
  }
}

/** For so long connect(2) and sendmsg(2) wait; 0: without end. */
function sendTimeout(fd: number, ms: number): void {
  // struct timeval { i64 seconds, microseconds }
  const time = BigInt64Array.of(BigInt(Math.floor(ms / 1000)), BigInt(Math.ceil(ms % 1000) * 1000))
  setsockoptCall(fd, SOL_SOCKET, SO_SNDTIMEO, time, time.byteLength)
}

/** The paths to which sockets of this network name space are bound, as whoever bound them wrote them; none where there is no /proc. */
export function boundSockets(): Set<string> {
  let rows: string[] = []
  try {
    // Num RefCount Protocol Flags Type St Inode Path
    rows = fs.readFileSync('/proc/net/unix', 'utf8').split('\n')
  } catch {}
  return new Set(rows.flatMap((row) => /^\S+ \S+ \S+ \S+ \S+ \S+ +\d+ (\/.*)$/.exec(row)?.[1] ?? []))
}

/** The next connection to a listening socket, or -EAGAIN. */
export function acceptUnix(fd: number): number {
  return errnoOf(acceptCall(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC))
}

/** The other end reads the end of the stream, and so does whoever waits here, unless it is for writing alone. */
export function shutdownSocket(fd: number, what: 'both' | 'writing' = 'both'): void {
  shutdownCall(fd, what === 'both' ? SHUT_RDWR : SHUT_WR)
}

/** Who connected, as the kernel saw it then; pid 0: a process that cannot be seen from here. */
export interface Peer {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

export function peerOf(fd: number): Peer | undefined {
  const ucred = new Int32Array(3)
  if (getsockoptCall(fd, SOL_SOCKET, SO_PEERCRED, ucred, Uint32Array.of(12)) === -1) return undefined
  return { pid: ucred[0]!, uid: ucred[1]! >>> 0, gid: ucred[2]! >>> 0 }
}

/**
 * Sends `data`, and with its first byte the descriptors, which stay the caller's. Returns bytes sent, perhaps fewer.
 *
 * ```
 * struct msghdr (64-bit)  name *@0 · namelen u32 @8 · iov *@16 · iovlen u64 @24 · control *@32 · controllen u64 @40 · flags @48
 * struct cmsghdr          len u64 @0 · level i32 @8 · type i32 @12 · descriptors i32 @16 …
 * ```
 */
export function sendWith(fd: number, data: Uint8Array, descriptors: readonly number[] = []): number {
  const iovec = new BigUint64Array([addressOf(data), BigInt(data.length)])
  const header = new BigUint64Array(7)
  header[2] = addressOf(iovec)
  header[3] = 1n
  const control = new Int32Array(4 + DESCRIPTORS_MAX)
  if (descriptors.length > 0) {
    control[0] = 16 + descriptors.length * 4
    control[2] = SOL_SOCKET
    control[3] = SCM_RIGHTS
    control.set(descriptors, 4)
    header[4] = addressOf(control)
    header[5] = BigInt(16 + Math.ceil(descriptors.length / 2) * 8)
  }
  return whileHeld([data, iovec, control], () => errnoOf(sendmsgCall(fd, header, MSG_NOSIGNAL)))
}

/**
 * Receives into `buffer`: bytes (0: the other end has closed), or -EAGAIN where nothing is there and the call is not to wait (`waits`).
 * Descriptors that came along are added to `descriptors` and are the caller's; without that the kernel takes them back.
 */
export function receiveWith(fd: number, buffer: Uint8Array, descriptors?: number[], waits = false): number {
  const iovec = new BigUint64Array([addressOf(buffer), BigInt(buffer.length)])
  const control = new Int32Array(4 + DESCRIPTORS_MAX)
  const header = new BigUint64Array(7)
  header[2] = addressOf(iovec)
  header[3] = 1n
  if (descriptors !== undefined) {
    header[4] = addressOf(control)
    header[5] = BigInt(control.byteLength)
  }
  const received = whileHeld([buffer, iovec, control], () =>
    errnoOf(recvmsgCall(fd, header, MSG_CMSG_CLOEXEC | (waits ? 0 : MSG_DONTWAIT))),
  )
  const isCarrying = Number(header[5]) >= 16 && control[2] === SOL_SOCKET && control[3] === SCM_RIGHTS
  if (received < 0 || descriptors === undefined || !isCarrying) return received
  const count = (control[0]! - 16) >> 2
  for (let i = 0; i < count; i++) descriptors.push(control[4 + i]!)
  return received
}

/** Resolves when one of `fds` can be read, or has been closed at its other end, with those that can. Takes a thread of the libuv pool so long. */
export function readable(fds: readonly number[], timeoutMs = -1): Promise<number[]> {
  const polled = new Int32Array(fds.length * 2)
  fds.forEach((fd, i) => {
    polled[i * 2] = fd
    polled[i * 2 + 1] = 1 // events = POLLIN, revents = 0
  })
  return new Promise((resolve) => {
    pollCall.async(polled, fds.length, timeoutMs, () => resolve(fds.filter((_, i) => polled[i * 2 + 1]! >>> 16 !== 0)))
  })
}

function addressAt(path: string): Buffer | undefined {
  const name = Buffer.from(path)
  if (name.length >= PATH_BYTES_MAX) return undefined
  // struct sockaddr_un: family u16, path, NUL.
  const address = Buffer.alloc(2 + name.length + 1)
  address.writeUInt16LE(AF_UNIX, 0)
  name.copy(address, 2)
  return address
}
