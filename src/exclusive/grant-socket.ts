/**
 * The socket between a client of grants and its mount.
 *
 * Context: one thread with an event loop. A connection keeps that thread's process alive, and takes one thread of its libuv pool while it lasts.
 */
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, closeAsync, O_RDWR, open } from '../linux/file.ts'
import { ioctl } from '../linux/ioctl.ts'
import { connectUnix, readable, receiveWith, sendWith, shutdownSocket } from '../linux/unix-socket.ts'
import { type CacheEvents, type FileInMount, GrantClient, GrantError, type GrantWire } from './grant-client.ts'
import { type FromMount, Lines, type ToMount } from './messages.ts'
import { SHOW_FILE } from './show-file.ts'

/** So long a mount may take to answer who connects: a thread may have to start there. */
const PATIENCE_MS = 10_000

/**
 * Connects to the mount that listens at the first of `sockets` where somebody does: a connected socket, or undefined where nobody does. Throws a SystemError, or a {@link GrantError} with ETIMEDOUT where it takes
 * nobody for `patienceMs`.
 */
export async function reachGrants(sockets: readonly string[], patienceMs = PATIENCE_MS): Promise<number | undefined> {
  for (const socket of sockets) {
    const fd = await connectUnix(socket, patienceMs)
    if (fd >= 0) return fd
    if (fd === -ERRNO.EAGAIN) throw silent()
    if (fd !== -ERRNO.ENOENT && fd !== -ERRNO.ECONNREFUSED && fd !== -ERRNO.EACCES)
      throw new SystemError(-fd, 'connect', socket)
  }
  return undefined
}

/** The client of the mount at the other end of a socket, which passes to it. {@link GrantClient.ready} rejects where the mount says nothing for `patienceMs`. */
export function grantClient(fd: number, cache?: CacheEvents, patienceMs = PATIENCE_MS): GrantClient {
  const client = new GrantClient(new GrantSocket(fd), cache)
  const giveUp = setTimeout(() => {
    client.close()
    client.ended(silent())
  }, patienceMs)
  const stop = () => clearTimeout(giveUp)
  client.ready().then(stop, stop)
  void receive(fd, client)
  return client
}

/** Both, in `patienceMs` together. */
export async function connectToGrants(
  sockets: readonly string[],
  patienceMs = PATIENCE_MS,
): Promise<GrantClient | undefined> {
  const began = performance.now()
  const fd = await reachGrants(sockets, patienceMs)
  return fd === undefined ? undefined : grantClient(fd, undefined, Math.max(0, began + patienceMs - performance.now()))
}

const silent = () =>
  new GrantError('ETIMEDOUT', 'the mount does not answer: too many want grants of it, or it is stopped')

/** Shows the mount the file at `path`, which everything from now on is about. Throws a SystemError: EACCES for example, as open(2) does. */
export async function showFile(client: GrantClient, path: string): Promise<void> {
  await client.ready()
  const fd = open(path, O_RDWR)
  try {
    client.show({ fd, path })
  } finally {
    // Closing waits where a writer does.
    void closeAsync(fd).catch(() => {})
  }
}

class GrantSocket implements GrantWire {
  readonly #fd: number

  constructor(fd: number) {
    this.#fd = fd
  }

  send(message: ToMount): boolean {
    return sendWith(this.#fd, Buffer.from(`${JSON.stringify(message)}\n`)) >= 0
  }

  show({ fd, path }: FileInMount, key: Uint8Array): void {
    const error = ioctl(fd, SHOW_FILE, key)
    if (error < 0) throw new SystemError(-error, 'ioctl', path)
  }

  closeMemory(memory: number): void {
    close(memory)
  }

  close(): void {
    shutdownSocket(this.#fd)
  }
}

async function receive(fd: number, client: GrantClient): Promise<void> {
  const buffer = new Uint8Array(new ArrayBuffer(64 << 10))
  const descriptors: number[] = []
  const cut = new Lines()
  for (;;) {
    await readable([fd])
    const received = receiveWith(fd, buffer, descriptors)
    if (received === -ERRNO.EAGAIN || received === -ERRNO.EINTR) continue
    const lines = received > 0 ? cut.take(Buffer.from(buffer.subarray(0, received)).toString('latin1')) : undefined
    if (lines === undefined) break
    for (const line of lines) {
      const message = JSON.parse(line) as FromMount
      client.take(message, message.type === 'granted' ? descriptors.shift() : undefined)
    }
  }
  client.ended()
  close(fd)
}
