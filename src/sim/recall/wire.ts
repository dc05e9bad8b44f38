/** The socket between a client and the mount: both ends, and what is under way. Lines are taken in their order, late; who lets them pile up is cut off. */
import type { GrantPeer } from '../../daemon/grants/grant-file.ts'
import type { GrantWire } from '../../exclusive/grant-client.ts'
import { type FromMount, parseToMount } from '../../exclusive/messages.ts'
import type { World } from './world.ts'

/** Messages that the socket holds. */
const CAPACITY = 12

export class SimConnection implements GrantPeer {
  /** What the client talks over. */
  readonly wire: GrantWire = {
    send: (message) => {
      if (this.#isEndedForMount) return false
      this.#toMount.push(JSON.stringify(message))
      return true
    },
    show: ({ fd }) => {
      if (!this.#isClosed) this.#world.mount.holdings.show(this, this.#world.files[fd]!.share(), true)
    },
    closeMemory: () => {},
    close: () => this.close(),
  }
  readonly peer: { readonly pid: number; readonly uid: number; readonly gid: number }
  readonly key: string
  isCaching = false
  readonly #world: World
  readonly #toMount: string[] = []
  readonly #toClient: { readonly message: FromMount; readonly memory: number | undefined }[] = []
  /** Nothing more comes, behind what is there. */
  #isEndedForMount = false
  #isEndedForClient = false
  #isCut = false
  #isClosed = false

  constructor(world: World, pid: number) {
    this.#world = world
    this.key = `connection ${pid}`
    this.peer = { pid, uid: 0, gid: 0 }
    this.send({ type: 'hello', key: '00' })
  }

  // The mount's end.

  send(message: FromMount, memory?: number): void {
    if (this.#isClosed || this.#isCut) return
    if (this.#toClient.length >= CAPACITY) this.cutOff()
    else this.#toClient.push({ message, memory })
  }

  cutOff(): void {
    if (this.#isClosed || this.#isCut) return
    this.#isCut = true
    this.#isEndedForClient = true
    this.#world.counts.cut++
    if (!this.isCaching) this.#isEndedForMount = true
  }

  catchUp(): void {
    while (this.#toMount.length > 0) this.deliver()
  }

  get isReadable(): boolean {
    return !this.#isClosed && (this.#toMount.length > 0 || this.#isEndedForMount)
  }

  /** The mount takes the next line, or the end. */
  deliver(): void {
    const line = this.#toMount.shift()
    if (line === undefined) {
      this.#world.mount.holdings.closed(this)
      this.#isClosed = true
    } else if (!this.#isCut) {
      const message = parseToMount(line)
      if (message === undefined || message.type === 'wrong number')
        throw new Error(`the mount does not understand ${line}`)
      this.#world.mount.holdings.message(this, message)
    }
  }

  // The client's end.

  close(): void {
    this.#isEndedForMount = true
    this.#isEndedForClient = true
  }

  /** The next message; `end`: none will come. */
  receive(): { readonly message: FromMount; readonly memory: number | undefined } | 'end' | undefined {
    return this.#toClient.shift() ?? (this.#isEndedForClient ? 'end' : undefined)
  }
}
