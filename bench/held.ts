/** What is in memory, and whose it is. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import type { StatusReport } from '../src/daemon/status.ts'
import { cachedPages } from '../src/linux/cachestat.ts'
import type { Bench } from './bench.ts'

export const PAGE_BYTES = 4096

/** Pages that a file has in the page cache. */
export function pagesOf(file: string): number {
  const fd = fs.openSync(file, 'r')
  const pages = cachedPages(fd)
  fs.closeSync(fd)
  return pages
}

/** What a mount says of its homes. */
export function homesOf(bench: Bench, mountpoint: string): StatusReport['homes'] {
  return statusOf(bench, mountpoint).homes
}

export function statusOf(bench: Bench, mountpoint: string): StatusReport {
  const [command = '', ...args] = bench.program
  const output = execFileSync(command, [...args, 'status', '--json', mountpoint], { encoding: 'utf8' })
  return (JSON.parse(output) as StatusReport[])[0]!
}
