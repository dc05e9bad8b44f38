/**
 * A mount that this cache is attached to: its files are opened here, and what is granted of them is decided there.
 *
 * A file is shown to the mount before it is opened for reading, so whoever opens it is served by the mount's daemon, and nobody is granted a part of it before this cache has given that up
 * (leases.ts). All descriptors have O_NONBLOCK: a read or write waits here, in its turn, and never in the kernel.
 *
 * Context: the keeper's thread.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import type { GrantAuthority } from '../../cache/grants/grant-authority.ts'
import type { GrantClient } from '../../exclusive/grant-client.ts'
import { grantClient, reachGrants } from '../../exclusive/grant-socket.ts'
import { deviceName, deviceOf, deviceOfSocket, grantSockets, samepageMount } from '../../exclusive/mounts.ts'
import { close } from '../../linux/file.ts'
import { CachedInode } from '../cached-inode.ts'
import { notAFile, systemError } from '../errors.ts'
import { AttachedGrants } from './attached-grants.ts'
import { Attendance } from './attendance.ts'
import { Leases } from './leases.ts'
import type { AttendedFile, MountEvents, MountFiles } from './mount-files.ts'

const openFile = promisify(fs.open)

/** A mount that somebody has connected to. */
export interface ReachedMount {
  readonly fd: number
  readonly device: string
  readonly close: () => void
}

/**
 * Connects to the mount that `at` names, by its mountpoint, by a path in it, or by its socket. Throws the system's error, with ENOTCONN where there is no such mount, or it gives no grants; ETIMEDOUT where it does
 * not answer.
 */
export async function reachMount(at: string): Promise<ReachedMount> {
  const device = deviceOfSocket(at) ?? deviceOf(at)
  if (samepageMount(device) === undefined) throw notAttached(at, 'is no Samepage mount, and lies in none')
  const fd = await reachGrants(deviceOfSocket(at) === undefined ? grantSockets(device) : [at])
  if (fd === undefined)
    throw notAttached(at, 'its mount gives no grants: it is read-only, of an older version, or of another user')
  return { fd, device, close: () => close(fd) }
}

/** A name that is given to other files again and again. */
const OPEN_TRIES = 5

export class AttachedMount implements MountFiles {
  readonly grants: AttachedGrants
  readonly leases: Leases
  readonly #client: GrantClient
  readonly #device: string
  readonly #attendance: Attendance

  /** `table`: of this cache. The connection passes to it. */
  constructor({ fd, device }: ReachedMount, table: GrantAuthority, files: MountEvents) {
    this.leases = new Leases(table, files)
    const client = grantClient(fd, {
      onRecall: (message) => this.#attendance.recall(message),
      onRestore: (id) => this.leases.restore(id),
      onEnded: () => this.#attendance.lost(),
    })
    this.#client = client
    this.#attendance = new Attendance(client, this.leases)
    this.#device = device
    this.grants = new AttachedGrants(client, (inode) => files.close(inode))
  }

  async open(path: string): Promise<AttendedFile> {
    for (let tries = 0; tries < OPEN_TRIES; tries++) {
      const key = await this.#attend(path)
      try {
        const fd = await openFile(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
        if (CachedInode.stampOf(fs.fstatSync(fd, { bigint: true })).key === key)
          return { fd, end: () => this.#attendance.leave(key) }
        this.closeFd(fd)
      } catch (error) {
        this.#attendance.leave(key)
        throw error
      }
      this.#attendance.leave(key)
    }
    throw systemError('ESTALE', 'other files take its name all the time', 'open', path)
  }

  closeFd(fd: number): void {
    fs.close(fd, () => {})
  }

  get isConnected(): boolean {
    return this.#client.isOpen
  }

  close(): void {
    this.#client.close()
  }

  /** Tells the mount of the file that has this name now: which it is. To be taken back by {@link Attendance.leave}. */
  async #attend(path: string): Promise<string> {
    if (!this.#client.isOpen) throw notConnected('open', path)
    const fd = await openFile(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
    let key: string
    let ready: Promise<void>
    try {
      const stat = fs.fstatSync(fd, { bigint: true })
      if (deviceName(Number(stat.dev)) !== this.#device)
        throw systemError('EXDEV', 'it does not lie in the mount that this cache is attached to', 'open', path)
      if (!stat.isFile()) throw notAFile(path, stat.isDirectory())
      await this.#client.ready()
      key = CachedInode.stampOf(stat).key
      ready = this.#attendance.enter(key, { fd, path })
    } finally {
      this.closeFd(fd)
    }
    try {
      await ready
    } catch (error) {
      throw this.#client.isOpen ? error : notConnected('open', path)
    }
    return key
  }
}

function notConnected(syscall: string, path: string): Error {
  return systemError('ENOTCONN', 'the mount that the cache is attached to has ended', syscall, path)
}

function notAttached(path: string, why: string): Error {
  return systemError('ENOTCONN', why, 'attach', path)
}
