/**
 * Connections of those who hold grants or want some: what they say comes in as messages, and their end is told. Context: the grants' thread.
 *
 * Whoever lets a line pile up, or says what is none of the protocol's, is cut off. Who caches what he reads is not gone by that: he is when he has heard of it, and has closed his end.
 */
import { randomBytes } from 'node:crypto'
import { type FromMount, KEY_BYTES, Lines, parseToMount, type ToMount } from '../../exclusive/messages.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close } from '../../linux/file.ts'
import {
  acceptUnix,
  type Peer,
  peerOf,
  readable,
  receiveWith,
  sendWith,
  shutdownSocket,
} from '../../linux/unix-socket.ts'
import type { GrantPeer } from './grant-file.ts'

/** A thread that has failed ends when what it waits for has. */
const POLL_MS = 5000
const CONNECTIONS_MAX = 1024
/** Of one user, if that is not root: others are to have some, too. */
const CONNECTIONS_OF_USER_MAX = 128
/** Of the buffer: more than a socket holds. Whoever goes on meanwhile is not waited for. */
const CATCH_UP_READS_MAX = 64

/** Of whoever means well, but was given it by others: he may hold what he holds. */
const WRONG_NUMBER = {
  type: 'refused',
  code: 'EINVAL',
  message: 'bytes and milliseconds are whole numbers from 0 on, below 2^53',
} as const

export interface ConnectionEvents {
  message(connection: Connection, message: ToMount): void
  closed(connection: Connection): void
}

export class Connection implements GrantPeer {
  readonly peer: Peer
  /** What the client shows a file by, as hexadecimal digits. */
  readonly key = randomBytes(KEY_BYTES).toString('hex')
  readonly lines = new Lines()
  readonly fd: number
  readonly #catchUp: (connection: Connection) => void
  isCaching = false
  /** Nothing that it says counts any more. */
  isCut = false
  /** Then its descriptor may be another's. */
  isClosed = false

  constructor(fd: number, peer: Peer, catchUp: (connection: Connection) => void) {
    this.fd = fd
    this.peer = peer
    this.#catchUp = catchUp
  }

  send(message: FromMount, descriptor?: number): void {
    if (this.isClosed || this.isCut) return
    const line = Buffer.from(`${JSON.stringify(message)}\n`)
    const sent = sendWith(this.fd, line, descriptor === undefined ? [] : [descriptor])
    if (sent < line.length) this.cutOff()
  }

  catchUp(): void {
    if (!this.isClosed) this.#catchUp(this)
  }

  cutOff(): void {
    if (this.isClosed || this.isCut) return
    this.isCut = true
    shutdownSocket(this.fd, this.isCaching ? 'writing' : 'both')
  }
}

export class Connections {
  readonly #listening: number
  readonly #events: ConnectionEvents
  readonly #open = new Map<number, Connection>()
  readonly #buffer = new Uint8Array(new ArrayBuffer(64 << 10))

  /** `listening`: a socket as `listenUnix` gives it. */
  constructor(listening: number, events: ConnectionEvents) {
    this.#listening = listening
    this.#events = events
  }

  /** The connection that was given `key`. */
  withKey(key: string): Connection | undefined {
    for (const connection of this.#open.values()) if (connection.key === key) return connection
    return undefined
  }

  /** Serves for ever. */
  async serve(): Promise<never> {
    for (;;) {
      const isFull = this.#open.size >= CONNECTIONS_MAX
      const ready = await readable([...(isFull ? [] : [this.#listening]), ...this.#open.keys()], POLL_MS)
      for (const fd of ready) {
        if (fd === this.#listening) this.#accept()
        else this.#receive(this.#open.get(fd)!)
      }
    }
  }

  #accept(): void {
    const fd = acceptUnix(this.#listening)
    if (fd < 0) return
    const peer = peerOf(fd)
    if (peer === undefined || (peer.uid !== 0 && this.#countOf(peer.uid) >= CONNECTIONS_OF_USER_MAX)) {
      close(fd)
      return
    }
    const connection = new Connection(fd, peer, (it) => this.#receiveAll(it))
    this.#open.set(fd, connection)
    connection.send({ type: 'hello', key: connection.key })
  }

  #countOf(uid: number): number {
    return [...this.#open.values()].filter(({ peer }) => peer.uid === uid).length
  }

  #receive(connection: Connection): void {
    const received = this.#read(connection)
    if (received === -ERRNO.EAGAIN || received === -ERRNO.EINTR) return
    if (received <= 0) this.#close(connection)
    else this.#takeOrCut(connection, received)
  }

  /** All that is there now; its end is noticed in its turn. */
  #receiveAll(connection: Connection): void {
    for (let reads = 0; reads < CATCH_UP_READS_MAX; reads++) {
      const received = this.#read(connection)
      if (received <= 0) return
      this.#takeOrCut(connection, received)
    }
  }

  #read(connection: Connection): number {
    // Descriptors are taken from nobody: closing that of a file of this mount can make who closes it wait.
    return receiveWith(connection.fd, this.#buffer)
  }

  #takeOrCut(connection: Connection, received: number): void {
    if (!connection.isCut && !this.#take(connection, received)) connection.cutOff()
  }

  /** False where it is none of the protocol's. */
  #take(connection: Connection, received: number): boolean {
    const lines = connection.lines.take(Buffer.from(this.#buffer.subarray(0, received)).toString('latin1'))
    for (const line of lines ?? []) {
      if (connection.isCut) return true
      const message = parseToMount(line)
      if (message === undefined) return false
      if (message.type === 'wrong number') connection.send({ ...WRONG_NUMBER, id: message.id })
      else this.#events.message(connection, message)
    }
    return lines !== undefined
  }

  #close(connection: Connection): void {
    this.#open.delete(connection.fd)
    this.#events.closed(connection)
    connection.isClosed = true
    close(connection.fd)
  }
}
