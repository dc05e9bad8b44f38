/** Mounts in the guest, and what can be seen of them from outside. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ask, socketPath } from '../../../src/daemon/control-socket.ts'
import type { StatusReport } from '../../../src/daemon/status.ts'

const PROGRAM = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url))

export interface Mount {
  readonly mountpoint: string
  /** Unmounts in order; nobody may use it. */
  end(): Promise<void>
}

/** Mounts `source` at `mountpoint`, and waits until it answers. */
export async function startMount(source: string, mountpoint: string, args: readonly string[]): Promise<Mount> {
  fs.mkdirSync(mountpoint, { recursive: true })
  const child = spawn(process.execPath, [PROGRAM, 'mount', ...args, source, mountpoint], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await Promise.race([
    once(child.stdout!, 'data'),
    once(child, 'close').then(() => {
      throw new Error(`no mount at ${mountpoint}`)
    }),
  ])
  return {
    mountpoint,
    async end() {
      child.kill('SIGTERM')
      await once(child, 'close')
      assert.equal(fs.readdirSync(mountpoint).length, 0)
    },
  }
}

/** Asked of the mount itself: to start `samepage status` takes too long here. */
export async function status(mountpoint: string): Promise<StatusReport> {
  const report = await ask<StatusReport>(socketPath(mountpoint), '/status')
  assert.ok(report !== undefined, `${mountpoint} does not answer`)
  return report
}

/** The number of the process that serves a mount. */
export function servingProcess(mountpoint: string): number {
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = readText(`/proc/${pid}/cmdline`)
    if (command.includes('serving-process') && command.includes(`${mountpoint}"`)) return Number(pid)
  }
  throw new Error(`nobody serves ${mountpoint}`)
}

/** What a process has open: paths by which that can be opened again, and what they lead to. */
export function descriptorsOf(pid: number): { readonly link: string; readonly target: string }[] {
  return fs.readdirSync(`/proc/${pid}/fd`).map((fd) => {
    const link = `/proc/${pid}/fd/${fd}`
    return { link, target: fs.readlinkSync(link) }
  })
}

/** A file system without DAX, which has a page cache, in a file of the one with it. */
export async function withXfs(mountpoint: string, body: () => Promise<void>): Promise<void> {
  fs.mkdirSync(mountpoint, { recursive: true })
  const image = '/pmem/xfs'
  execFileSync('truncate', ['-s', '320M', image])
  execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image])
  execFileSync('mount', ['-t', 'xfs', '-o', 'loop', image, mountpoint])
  try {
    await body()
  } finally {
    execFileSync('umount', [mountpoint])
    fs.rmSync(image)
  }
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
