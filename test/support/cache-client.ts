/**
 * A process of its own whose cache is attached to a mount, told step by step what to do; a step may wait while others are done.
 *
 *     await using client = await attachedClient(mount.path)
 *     await client.open('f', `${mount.path}/f`)
 *     expect(await client.read('f', 0, PAGE)).toBe(…)
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { PROGRAM } from './mounted.ts'
import { ROOT } from './sources.ts'

const CLIENT = path.join(ROOT, 'test/support/programs/cache_client.mjs')

export interface CacheOptions {
  readonly memory?: string
  readonly merge?: 'content'
  readonly grants?: { readonly waitMs: number }
}

/** Resolves when it is attached; rejects with the error's code. `who`: whose process it is. */
export async function attachedClient(
  mount: string,
  options: CacheOptions = {},
  who: { readonly uid?: number; readonly gid?: number } = {},
): Promise<CacheClient> {
  const args = [CLIENT, path.dirname(path.dirname(PROGRAM)), mount, JSON.stringify({ memory: '16MiB', ...options })]
  const client = new CacheClient(
    spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/', ...who }),
  )
  await client.attached
  return client
}

export class CacheClient implements AsyncDisposable {
  readonly process: ChildProcess
  readonly ended: Promise<unknown>
  readonly attached: Promise<unknown>
  readonly #pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  #nextId = 1
  #line = ''

  constructor(process: ChildProcess) {
    this.process = process
    this.ended = once(process, 'exit')
    this.attached = this.#answer(0)
    process.stdin?.on('error', () => {})
    process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#line += text
      for (let end = this.#line.indexOf('\n'); end >= 0; end = this.#line.indexOf('\n')) {
        const { id, value, error } = JSON.parse(this.#line.slice(0, end))
        this.#line = this.#line.slice(end + 1)
        const pending = this.#pending.get(id)
        this.#pending.delete(id)
        if (error === undefined) pending?.resolve(value)
        else pending?.reject(new Error(error))
      }
    })
    void this.ended.then(() => {
      for (const { reject } of this.#pending.values()) reject(new Error('the client is gone'))
    })
  }

  /** Runs the body of an async function, with `kept` for what later steps need: what it returns, or an error whose message is the code. */
  run<T = void>(code: string, values: Record<string, unknown> = {}): Promise<T> {
    const id = this.#nextId++
    const answer = this.#answer(id)
    this.process.stdin?.write(`${JSON.stringify({ id, code, values })}\n`)
    return answer as Promise<T>
  }

  open(name: string, file: string, flags: 'r' | 'r+' = 'r'): Promise<void> {
    return this.run('kept[name] = await kept.cache.open(file, flags)', { name, file, flags })
  }

  /** As text, a character a byte. */
  read(name: string, position: number, length: number, options: { readonly wait?: boolean } = {}): Promise<string> {
    return this.run(
      `const buffer = Buffer.alloc(length)
       return buffer.toString('latin1', 0, await kept[name].read(buffer, { position, ...options }))`,
      { name, position, length, options },
    )
  }

  /** What is in memory; undefined where any of it is not. */
  async tryRead(name: string, position: number, length: number): Promise<string | undefined> {
    const text = await this.run<string | null>(
      `const buffer = Buffer.alloc(length)
       const count = kept[name].tryRead(buffer, { position })
       return count === undefined ? null : buffer.toString('latin1', 0, count)`,
      { name, position, length },
    )
    return text ?? undefined
  }

  write(name: string, position: number, text: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    return this.run('await kept[name].write(Buffer.from(text, "latin1"), { position, ...options })', {
      name,
      position,
      text,
      options,
    })
  }

  /** Has a range exclusively, as `grant`. */
  exclusive(name: string, grant: string, options: Record<string, unknown>): Promise<void> {
    return this.run(
      `kept[grant] = await kept[name].exclusive({ ...options, onRevoke: () => { kept.revoked = grant; kept.onRevoke?.() } })`,
      { name, grant, options },
    )
  }

  /** What a grant is filled with, and published. */
  publish(grant: string, fill: string, options: Record<string, unknown> = {}): Promise<void> {
    return this.run('kept[grant].bytes.fill(fill.charCodeAt(0)); await kept[grant].publish(options)', {
      grant,
      fill,
      options,
    })
  }

  abandon(grant: string): Promise<void> {
    return this.run('await kept[grant].abandon()', { grant })
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.stdin?.end()
    const late = setTimeout(() => this.process.kill('SIGKILL'), 10_000)
    await this.ended
    clearTimeout(late)
  }

  #answer(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }))
  }
}
