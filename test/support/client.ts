/**
 * A program of its own that uses the mount, told step by step what to do: what Node.js cannot (mmap, O_DIRECT, being
 * killed) and what must not happen in the process of the tests (waiting for a mount that hangs). It is Python that
 * runs what it is sent:
 *
 *     await using client = startClient()
 *     await client.run('f = os.open(path, os.O_RDONLY)', { path })
 *     const size = await client.value('os.fstat(f).st_size')
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { PYTHON } from './observe.ts'

const PROGRAM = `
import ctypes, errno, fcntl, hashlib, json, mmap, os, select, signal, socket, stat, sys, threading, time

def digest(data):
    return hashlib.sha256(data).hexdigest()

def whole(descriptor):
    """All bytes of an open file, whatever its attributes say."""
    parts, offset = [], 0
    while part := os.pread(descriptor, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)

names = globals()
while line := sys.stdin.readline():
    step = json.loads(line)
    names.update(step["values"])
    try:
        if step["kind"] == "run":
            exec(step["code"], names)
            answer = {"value": None}
        else:
            answer = {"value": eval(step["code"], names)}
    except OSError as error:
        answer = {"error": errno.errorcode.get(error.errno, str(error.errno))}
    except BaseException as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
`

export class Client implements AsyncDisposable {
  readonly process: ChildProcess
  readonly ended: Promise<unknown>
  #pending: ((line: string) => void)[] = []
  #line = ''

  /** `wrapper`: what starts the program, e.g. `['samepage', 'exclusive', …, '--']`. */
  constructor(wrapper: readonly string[] = []) {
    const [program, ...args] = [...wrapper, PYTHON, '-B', '-c', PROGRAM]
    this.process = spawn(program!, args, { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/' })
    this.ended = once(this.process, 'exit')
    this.process.stdin?.on('error', () => {})
    this.process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#line += text
      for (let end = this.#line.indexOf('\n'); end >= 0; end = this.#line.indexOf('\n')) {
        this.#pending.shift()?.(this.#line.slice(0, end))
        this.#line = this.#line.slice(end + 1)
      }
    })
  }

  /** Runs statements. Rejects with an error whose message is the errno's name, or what Python says. */
  async run(code: string, values: Record<string, unknown> = {}): Promise<void> {
    await this.#ask('run', code, values)
  }

  /** The value of an expression. */
  value<T>(code: string, values: Record<string, unknown> = {}): Promise<T> {
    return this.#ask('value', code, values) as Promise<T>
  }

  /** What an expression fails with, or its value. */
  outcome(code: string, values: Record<string, unknown> = {}): Promise<unknown> {
    return this.#ask('value', code, values).catch((error: Error) => error.message)
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.stdin?.end()
    const late = setTimeout(() => this.process.kill('SIGKILL'), 5000)
    await this.ended
    clearTimeout(late)
  }

  async #ask(kind: string, code: string, values: Record<string, unknown>): Promise<unknown> {
    const line = new Promise<string>((resolve, reject) => {
      this.#pending.push(resolve)
      void this.ended.then(() => reject(new Error('the client is gone')))
    })
    this.process.stdin?.write(`${JSON.stringify({ kind, code, values })}\n`)
    const answer = JSON.parse(await line) as { value?: unknown; error?: string }
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.value
  }
}

export function startClient(wrapper: readonly string[] = []): Client {
  return new Client(wrapper)
}

/** A client that has the file open, as `f`. `flags`: such as `O_RDWR|O_DIRECT`. */
export async function openedClient(path: string, flags = 'O_RDWR'): Promise<Client> {
  const client = startClient()
  const names = flags.split('|').map((flag) => `os.${flag}`)
  await client.run(`f = os.open(path, ${names.join('|')})`, { path })
  return client
}
