/** Grants that a mount gives: it decides, copies the bytes and publishes them. Context: the keeper's thread. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { PAGE_BYTES } from '../../cache/entry.ts'
import { type GrantClient, GrantError, type MountGrant } from '../../exclusive/grant-client.ts'
import type { CachedInode } from '../cached-inode.ts'
import { systemError, withPath } from '../errors.ts'
import type { ExclusiveWish, Grants, HeldGrant, HolderEvents } from '../grants/grants.ts'
import { refusedError } from '../grants/refused.ts'

export class AttachedGrants implements Grants {
  readonly #client: GrantClient
  readonly #close: (inode: CachedInode) => void

  /** `close`: the inode is used once less by who writes. */
  constructor(client: GrantClient, close: (inode: CachedInode) => void) {
    this.#client = client
    this.#close = close
  }

  async grant(inode: CachedInode, holder: string, wish: ExclusiveWish, events: HolderEvents): Promise<HeldGrant> {
    const { position, length, readers, wait, timeoutMs } = wish
    const start = Math.floor(position / PAGE_BYTES) * PAGE_BYTES
    const end = Math.ceil((position + length) / PAGE_BYTES) * PAGE_BYTES
    if (length === 0) throw systemError('EINVAL', 'what is granted must lie within the file', 'exclusive', inode.path)
    inode.use(true)
    const giveUp = new AbortController()
    events.onWaiting(() => {
      giveUp.abort()
      return true
    })
    let held: Held | undefined
    let isTaken = false
    try {
      const options = {
        file: { fd: inode.writeFd, path: inode.path },
        range: { start, end },
        // Names may be long, and the mount's lines may not.
        holder: createHash('sha256').update(holder).digest('hex'),
        readers,
        wait,
        timeoutMs,
        onRevoke: events.onRevoke,
        onTaken: () => {
          isTaken = true
          held?.release()
        },
      }
      const grant = await this.#client.want(options, giveUp.signal)
      try {
        held = new Held(grant, inode, position, length, () => this.#close(inode))
      } catch (error) {
        // There is no room for its bytes.
        grant.abandon().catch(() => {})
        throw error
      }
      if (isTaken) throw systemError('ESTALE', 'the grant has ended', 'exclusive', inode.path)
      held.read()
      return held
    } catch (error) {
      if (held === undefined) this.#close(inode)
      else held.release()
      // The connection may end before the mount has taken the wish back: of a cache that is being closed.
      if (giveUp.signal.aborted) throw refusedError('ECANCELED', 'exclusive', inode.path)
      throw this.#refusal(error, 'exclusive', inode.path)
    }
  }

  async revoke(inode: CachedInode, position: number, length: number, deadlineMs: number): Promise<number> {
    const file = { fd: inode.writeFd, path: inode.path }
    inode.use(true)
    try {
      return (await this.#client.revoke({ start: position, end: position + length }, deadlineMs, file)).asked
    } catch (error) {
      throw this.#refusal(error, 'revoke', inode.path)
    } finally {
      this.#close(inode)
    }
  }

  /** Why it gives nothing; where it has ended, as all others are told. */
  #refusal(error: unknown, syscall: string, path: string): unknown {
    if (error instanceof GrantError && !this.#client.isOpen) return refusedError('ENOTCONN', syscall, path)
    return asSystemError(error, syscall, path)
  }
}

class Held implements HeldGrant {
  readonly bytes: Uint8Array
  readonly #grant: MountGrant
  readonly #inode: CachedInode
  /** Where its bytes lie in the grant's. */
  readonly #at: number
  readonly #ended: () => void
  #isEnded = false
  #publishing: Promise<void> | undefined

  constructor(grant: MountGrant, inode: CachedInode, position: number, length: number, ended: () => void) {
    this.#grant = grant
    this.#inode = inode
    this.#at = position - grant.start
    this.#ended = ended
    this.bytes = new Uint8Array(length)
  }

  read(): void {
    const { bytes } = this
    // It is memory: nothing waits. The pool may be full of those who do.
    if (fs.readSync(this.#grant.memory, bytes, 0, bytes.length, this.#at) < bytes.length)
      throw systemError('EINVAL', 'what is granted must lie within the file', 'exclusive', this.#inode.path)
  }

  async publish(bytes: Uint8Array, sync: boolean): Promise<void> {
    if (this.#isEnded || this.#publishing !== undefined)
      throw systemError('ESTALE', 'the grant has ended', 'publish', this.#inode.path)
    for (let done = 0; done < bytes.length; )
      done += fs.writeSync(this.#grant.memory, bytes, done, bytes.length - done, this.#at + done)
    this.#publishing = this.#grant.publish(sync)
    try {
      await this.#publishing
      this.#end()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESTALE') this.#end()
      throw asSystemError(error, 'publish', this.#inode.path)
    } finally {
      this.#publishing = undefined
    }
  }

  release(): void {
    // What is being published is answered first: then there may be nothing left to give back.
    const abandon = () => {
      if (this.#isEnded) return
      this.#end()
      this.#grant.abandon().catch(() => {})
    }
    if (this.#publishing === undefined) abandon()
    else this.#publishing.then(abandon, abandon)
  }

  #end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#ended()
  }
}

/** What a mount refuses, as other errors of the library are. */
function asSystemError(error: unknown, syscall: string, path: string): unknown {
  if (!(error instanceof GrantError)) return withPath(error, path)
  return systemError(error.code === 'ENXIO' ? 'EINVAL' : error.code, error.message, syscall, path)
}
