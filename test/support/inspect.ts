/** For the tests of `samepage inspect`: running it, and putting pages of files into memory or out of it. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { Report } from '../../src/inspect/report.ts'
import { fadvise, O_NOATIME, O_RDONLY, POSIX_FADV_DONTNEED, POSIX_FADV_RANDOM, pread } from '../../src/linux/file.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import { PAGE, withFd } from './files.ts'
import { ROOT } from './sources.ts'

export interface Ran {
  status: number | null
  stdout: string
  stderr: string
}

export const SAMEPAGE = path.join(ROOT, 'dist/cli/main.js')

/** Runs the built program. */
export function samepage(...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SAMEPAGE, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  })
  return { status, stdout, stderr }
}

/** What `samepage inspect --json` says, with every row. */
export function inspect(...args: string[]): Report {
  const { status, stdout, stderr } = samepage('inspect', '--json', '--top', 'all', ...args)
  if (status !== 0) throw new Error(`status ${status}: ${stderr}`)
  return JSON.parse(stdout)
}

/** Runs of pages, [first, end) each, by the path of a file. */
export type Residency = Readonly<Record<string, readonly (readonly [first: number, end: number])[]>>

const ATTEMPTS = 20

/**
 * What inspect says while exactly the given pages of these (clean) files are resident. `between` is called after they are
 * and before inspect. The kernel may drop a page at any time; where it did meanwhile, all begins anew.
 */
export function inspectResident(residency: Residency, args: string[], between: () => void = () => {}): Report {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    let isExact = true
    for (const [file, runs] of Object.entries(residency)) isExact = setResident(file, runs) && isExact
    if (!isExact) continue
    between()
    const before = residentCounts(residency)
    const report = inspect(...args)
    if (residentCounts(residency) === before) return report
  }
  throw new Error('the page cache never stood still')
}

function residentCounts(residency: Residency): string {
  return Object.keys(residency)
    .map((file) => withFd(file, residentCount, O_RDONLY | O_NOATIME))
    .join()
}

/** True if exactly the given pages are resident then. Without readahead, so that the kernel adds none. */
function setResident(file: string, runs: Residency[string]): boolean {
  return withFd(file, (fd) => {
    fs.fsyncSync(fd)
    fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
    fadvise(fd, 0, 0, POSIX_FADV_RANDOM)
    const buffer = Buffer.alloc(PAGE)
    let expected = 0
    for (const [first, end] of runs) {
      for (let page = first; page < end; page++) pread(fd, buffer, PAGE, page * PAGE)
      expected += end - first
    }
    return residentCount(fd) === expected
  })
}

function residentCount(fd: number): number {
  return residentPages(fd, 0, 2 ** 26, new Uint8Array(2 ** 14))
}
