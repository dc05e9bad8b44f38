/**
 * PostgreSQL servers of the version that is installed, run as their own user with a data directory of the caller's choice. They listen on a
 * Unix socket only.
 *
 *     createCluster(data)
 *     await using server = await startServer(data)
 *     server.sql('SELECT 1')
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Where Debian puts each version, none of which is on the PATH. */
const VERSIONS = '/usr/lib/postgresql'
const USER = 'postgres'
const PATIENCE_MS = 60_000

/** Small in memory, so that reads go to the files; checkpoints often, so that a crash falls between them. */
const SETTINGS = `
listen_addresses = ''
shared_buffers = 2MB
max_wal_size = 32MB
min_wal_size = 16MB
checkpoint_timeout = 30s
max_connections = 20
autovacuum = off
logging_collector = off
`

/** The programs of the newest version; undefined where there is none. */
export function postgresDirectory(): string | undefined {
  if (!fs.existsSync(VERSIONS)) return undefined
  const versions = fs.readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a))
  return versions
    .map((version) => path.join(VERSIONS, version, 'bin'))
    .find((directory) => fs.existsSync(path.join(directory, 'initdb')))
}

/** Makes `data`, an empty directory that is given to the user of PostgreSQL, the data directory of a new cluster. */
export function createCluster(data: string): void {
  execFileSync('chown', [USER, data])
  const flags = ['--data-checksums', '--no-locale', '--encoding=UTF8', '--auth=trust', '--wal-segsize=1']
  runAsUser('initdb', ...flags, data)
  fs.appendFileSync(path.join(data, 'postgresql.conf'), SETTINGS)
}

/** Checks the checksum of every page of a cluster that was shut down; throws what is wrong. */
export function checkPages(data: string): void {
  runAsUser('pg_checksums', '--check', data)
}

/** Starts a server, through recovery if need be, and resolves when it answers. */
export async function startServer(data: string): Promise<PostgresServer> {
  const sockets = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-postgres-'))
  execFileSync('chown', [USER, sockets])
  const [program, ...args] = asUser('postgres', '-D', data, '-k', sockets)
  const server = new PostgresServer(
    spawn(program!, args, { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] }),
    data,
    sockets,
  )
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
    try {
      server.sql('SELECT 1')
      return server
    } catch (error) {
      if (server.process.exitCode === null && Date.now() < deadline) continue
      await server.kill()
      throw new Error(`PostgreSQL does not start on ${data}: ${server.log}`, { cause: error })
    }
  }
}

export class PostgresServer implements AsyncDisposable {
  readonly process: ChildProcess
  readonly data: string
  /** What it has logged. */
  log = ''
  readonly #sockets: string
  readonly #ended: Promise<unknown>

  constructor(child: ChildProcess, data: string, sockets: string) {
    this.process = child
    this.data = data
    this.#sockets = sockets
    this.#ended = once(child, 'close')
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
      })
  }

  /** Rows as lines, columns separated by `|`. */
  sql(query: string): string {
    return this.run('psql', '-XAt', '-c', query, 'postgres').trim()
  }

  /** Runs one of PostgreSQL's programs against this server, and returns what it printed. */
  run(program: string, ...args: string[]): string {
    return runAsUser(program, '-h', this.#sockets, ...args)
  }

  /** The same without waiting for it. */
  start(program: string, ...args: string[]): Promise<{ status: number; output: string }> {
    const [command, ...all] = asUser(program, '-h', this.#sockets, ...args)
    return new Promise((resolve) =>
      execFile(command!, all, { cwd: '/' }, (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      ),
    )
  }

  /** All its processes at once, as when the machine loses power; but the files below have what they were given. */
  async kill(): Promise<void> {
    const { pid } = this.process
    if (pid !== undefined && this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGSTOP')
      const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
      for (const process_ of [pid, ...children.map(Number)]) kill(process_, 'SIGKILL')
      for (const child of children) while (fs.existsSync(`/proc/${child}/fd/0`)) await sleep(10)
    }
    await this.#end()
  }

  /** A checkpoint, and the end. */
  async stop(): Promise<void> {
    if (this.process.exitCode === null) this.process.kill('SIGINT')
    await this.#end()
  }

  async #end(): Promise<void> {
    await this.#ended
    fs.rmSync(this.#sockets, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

function runAsUser(program: string, ...args: string[]): string {
  const [command, ...all] = asUser(program, ...args)
  return execFileSync(command!, all, { encoding: 'utf8', cwd: '/', stdio: 'pipe', maxBuffer: 64 << 20 })
}

/** The server refuses to run as root. */
function asUser(program: string, ...args: string[]): string[] {
  const user = [`--reuid=${USER}`, `--regid=${USER}`, '--init-groups']
  return ['setpriv', ...user, path.join(postgresDirectory() ?? '', program), ...args]
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Ended meanwhile.
  }
}
