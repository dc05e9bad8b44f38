/** A process that uses the mount: it may be stopped and go on, or be killed, between any two steps. */

import { PAGE_BYTES } from '../../cache/entry.ts'
import { type CacheEvents, GrantClient, type MountGrant } from '../../exclusive/grant-client.ts'
import type { SimFile } from './sim-file.ts'
import type { Wanted } from './sim-mount.ts'
import type { Halves } from './truth.ts'
import { SimConnection } from './wire.ts'
import type { World } from './world.ts'

/** Thrown by what a process would do after its end. */
const DEAD = new Error('the process is dead')
const ERRNO_NAMES: Readonly<Record<number, string>> = { 4: 'EINTR', 11: 'EAGAIN', 35: 'EDEADLK' }

export class SimProcess {
  readonly world: World
  readonly pid: number
  isStopped = false
  isDead = false
  readonly client: GrantClient
  readonly #connection: SimConnection

  constructor(world: World, pid: number, cache?: CacheEvents) {
    this.world = world
    this.pid = pid
    this.#connection = new SimConnection(world, pid)
    this.client = new GrantClient(this.#connection.wire, cache)
    world.connections.push(this.#connection)
    this.start('messages', () => this.#receive())
  }

  /** Others may go first. */
  async pause(): Promise<void> {
    do {
      await this.world.pause()
      if (this.isStopped) this.world.hearSilence()
    } while (this.isStopped && !this.isDead)
    if (this.isDead) throw DEAD
  }

  start(name: string, run: () => Promise<void>): void {
    this.world.start(`${name} of ${this.pid}`, () =>
      run().catch((error: unknown) => {
        if (!this.isDead) throw error
      }),
    )
  }

  /** Runs all of them, then ends in good order. */
  run(threads: readonly (() => Promise<void>)[]): void {
    let left = threads.length
    for (const [i, thread] of threads.entries())
      this.start(`thread ${i}`, async () => {
        await thread()
        if (--left === 0) this.client.close()
      })
  }

  kill(): void {
    if (this.isDead) return
    this.isDead = true
    this.#connection.close()
    // What its threads wait for does not come; each of them finds that it is dead.
    this.client.ended()
  }

  cutOff(): void {
    this.#connection.cutOff()
  }

  /** A request to the kernel, and a little later its answer. Throws an error with the errno's name as its code. */
  async ask(wanted: Omit<Wanted, 'pid'>, isInterrupted = false): Promise<readonly Halves[]> {
    const { answer, interrupt } = this.world.mount.ask({ ...wanted, pid: this.pid })
    if (isInterrupted) {
      for (let i = this.world.random.below(20); i > 0; i--) await this.pause()
      interrupt()
    }
    const said = await answer
    await this.pause()
    if ('pages' in said) return said.pages
    throw Object.assign(new Error(`errno ${said.errno}`), { code: ERRNO_NAMES[said.errno] })
  }

  /** Holds a range for a while, and publishes it or does not. What is refused is refused. */
  async hold(file: SimFile, holder: string | undefined): Promise<void> {
    const { world, client } = this
    const { random, counts } = world
    const from = random.below(file.pages.length)
    const to = from + 1 + random.below(file.pages.length - from)
    const readers = random.pick(['wait', 'last-published'] as const)
    const giveUp = new AbortController()
    const asked = client.want(
      {
        file: { fd: file.slot, path: file.path },
        range: { start: from * PAGE_BYTES, end: to * PAGE_BYTES },
        ...(holder !== undefined && { holder }),
        readers,
        wait: random.chance(0.8),
        timeoutMs: random.pick([null, null, 100, 20_000]),
        onRevoke: () => {},
        onTaken: () => {},
      },
      giveUp.signal,
    )
    if (random.chance(0.1))
      void this.pause().then(
        () => giveUp.abort(),
        () => {},
      )
    let grant: MountGrant
    try {
      grant = await asked
    } catch (error) {
      const { code } = error as { code: string }
      if (!['EAGAIN', 'ETIMEDOUT', 'EDEADLK', 'ECANCELED', 'EBUSY', 'ESTALE'].includes(code)) throw error
      if (code === 'EBUSY') {
        counts.silent++
        world.checkSilence((error as Error).message)
      }
      return
    }
    if (this.isDead) return
    const memory = world.memories[grant.memory]!
    // A cache has readers beside its holders, who wait as all do.
    if (holder === undefined) memory.pid = this.pid
    memory.held.readers = readers
    counts.grants++
    await this.pause()
    if (holder === undefined && random.chance(0.3)) {
      const least = world.truth.begin(file.key)
      const [page] = await this.ask({ file, from, to: from + 1, isImpatient: false })
      world.truth.checkPage(file.key, from, page!, least)
    }
    for (let tries = 0; tries < 3 && random.chance(0.8); tries++) {
      memory.values = memory.values.map(() => world.truth.freshValue())
      if (await this.#publish(grant)) return
    }
    await grant.abandon().catch(() => {})
  }

  /** Whether the grant has ended by it. */
  async #publish(grant: MountGrant): Promise<boolean> {
    const { truth, counts } = this.world
    try {
      await grant.publish(this.world.random.chance(0.5))
    } catch (error) {
      const { code } = error as { code: string }
      if (this.isDead || !this.client.isOpen) return true
      if (truth.isPublished(grant.memory)) throw new Error(`${code}, and it has been published`)
      if (code === 'ESTALE') return true
      this.world.checkSilence((error as Error).message)
      if (code === 'EBUSY') counts.unheard++
      else if (code !== 'errno 28' && code !== 'ENOSPC') throw error
      return false
    }
    truth.acknowledge(grant.memory)
    counts.publishes++
    return true
  }

  async revoke(file: SimFile): Promise<void> {
    const { random } = this.world
    await this.client
      .revoke({ start: 0, end: null }, random.below(200), { fd: file.slot, path: file.path })
      .catch((error: unknown) => {
        if (this.client.isOpen) throw error
      })
  }

  /** Its event loop takes what the mount says, late. */
  async #receive(): Promise<void> {
    for (;;) {
      await this.pause()
      const received = this.#connection.receive()
      if (received === 'end') break
      if (received !== undefined) this.client.take(received.message, received.memory)
    }
    this.client.ended()
    this.#connection.close()
  }
}
