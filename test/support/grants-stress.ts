/** What the stress tests of grants have in common: a file of groups of pages, in each of which all words are one stamp, and the programs that work on it. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { PAGE } from './files.ts'
import { PYTHON, pythonProgram } from './observe.ts'

export const SECONDS = Number(process.env.SAMEPAGE_STRESS_SECONDS ?? 20)
/** As the programs have it. */
export const GROUP_BYTES = 64 * PAGE
export const GROUPS = 4
/** The first so many groups: their stamps count how often they were published. */
export const COUNTED = 2

export const STRESS = pythonProgram('grants_stress.py')
const HOLDER = pythonProgram('grants_holder.mjs')

const run = promisify(execFile)

/** What a reader, writer or mapper says of what it has done and seen. */
export interface Found {
  readonly done: number
  readonly wrong: readonly unknown[]
}

/** Runs a program to its end: what it prints, which is JSON. */
export async function told<T>(program: string, args: readonly string[]): Promise<T> {
  return JSON.parse((await run(program, args)).stdout) as T
}

/** Reads, writes or maps the file through the mount. `args`: number, seconds, board. */
export function runNative(role: string, file: string, args: readonly string[]): Promise<Found> {
  return told(PYTHON, ['-B', STRESS, role, file, ...args])
}

/** Holds groups by `samepage exclusive`'s protocol, through the package in `dist`: how often each was published. */
export function runHolder(dist: string, file: string, args: readonly string[]): Promise<number[]> {
  return told(process.execPath, [HOLDER, dist, file, ...args])
}

/** The one stamp of a group. */
export function stampOf(content: Buffer, group: number): number {
  const stamps = new BigUint64Array(content.buffer, content.byteOffset + group * GROUP_BYTES, GROUP_BYTES / 8)
  expect(new Set(stamps).size).toBe(1)
  return Number(stamps[0])
}
