/** A program that holds a range of a file alone, through `samepage exclusive`: told step by step what to do with the bytes, which are `m`. */

import { expect } from 'vitest'
import { type Client, startClient } from './client.ts'
import { eventually } from './eventually.ts'
import { type Mounted, PROGRAM } from './mounted.ts'

/** Resolves when it has the range. `options`: of the command, e.g. `['--range', '0-4KiB']`. Rejects where it ended before. */
export async function startHolder(file: string, ...options: string[]): Promise<Client> {
  const client = startClient([process.execPath, PROGRAM, 'exclusive', ...options, '--fd', '3', file, '--'])
  await client.run('m = mmap.mmap(3, 0)')
  return client
}

/** Ends the holder's command, so that it publishes, with this status: what `samepage exclusive` ends with. */
export async function finish(holder: Client, status = 0): Promise<number | null> {
  if (status === 0) holder.process.stdin?.end()
  else void holder.run(`os._exit(${status})`).catch(() => {})
  await holder.ended
  return holder.process.exitCode
}

/** Resolves when so many requests of the kernel wait for grants to end. */
export async function untilWaiting(mount: Mounted, count: number): Promise<void> {
  await eventually(async () => expect((await mount.status()).grants?.waiting).toBe(count))
}
