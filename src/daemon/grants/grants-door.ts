/**
 * The mount's socket for grants, until somebody connects: then a thread is started that serves it. Who uses no grants has neither that thread nor its
 * memory. Context: the keeper's thread.
 */
import fs from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { grantSocket } from '../../exclusive/mounts.ts'
import { SystemError } from '../../linux/errors.ts'
import { close } from '../../linux/file.ts'
import { listenUnix, readable } from '../../linux/unix-socket.ts'
import { makeRuntimeDirectory } from '../control-socket.ts'
import type { Threads } from '../threads.ts'
import type { FromGrants } from './grants-thread.ts'
import type { GrantsReport } from './mount-grants.ts'

export class GrantsDoor {
  readonly #socket: string
  readonly #ino: number
  readonly #answers: ((report: GrantsReport) => void)[] = []
  #control: MessagePort | undefined

  /** `device`: `major:minor` of the mount. Throws a SystemError. */
  constructor(threads: Threads, device: string) {
    makeRuntimeDirectory()
    this.#socket = grantSocket(device)
    // Of a mount that had this number before.
    fs.rmSync(this.#socket, { force: true })
    const listening = listenUnix(this.#socket)
    if (listening < 0) throw new SystemError(-listening, 'listen', this.#socket)
    // Who may is found out for each file.
    fs.chmodSync(this.#socket, 0o666)
    this.#ino = fs.statSync(this.#socket).ino
    void readable([listening]).then(() => {
      this.#control = threads.startGrants(listening, device)
      // Whoever asks is refused.
      if (this.#control === undefined) close(listening)
      this.#control?.on('message', ({ report }: FromGrants) => this.#answers.shift()?.(report))
    })
  }

  /** What is granted and who waits, now. */
  report(): Promise<GrantsReport> {
    const control = this.#control
    if (control === undefined) return Promise.resolve(NOTHING)
    return new Promise((resolve) => {
      this.#answers.push(resolve)
      control.postMessage({ type: 'report' })
    })
  }

  /** The mount is gone already, and another may have its number by now, and a socket of that name. */
  close(): void {
    if (fs.statSync(this.#socket, { throwIfNoEntry: false })?.ino === this.#ino)
      fs.rmSync(this.#socket, { force: true })
  }
}

const NOTHING: GrantsReport = {
  held: [],
  wanted: 0,
  waiting: 0,
  caches: 0,
  granted: 0,
  published: 0,
  refused: 0,
  taken: 0,
}
