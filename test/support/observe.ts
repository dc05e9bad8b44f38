/**
 * Trees with everything that a file system can hold, and what programs see of them. The programs are in Python, stand below
 * programs/ and know nothing of Samepage: run over the source and over the mount they have to say the same.
 */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { findProgram } from './requires.ts'
import { ROOT } from './sources.ts'

/** One that every user may run: the first on root's PATH may lie in root's home directory. */
export const PYTHON = fs.existsSync('/usr/bin/python3') ? '/usr/bin/python3' : (findProgram('python3') ?? 'python3')

/** Who runs a program: root, or a user without any capability. */
export interface User {
  readonly name: string
  readonly uid: number
  readonly groups: readonly number[]
}

/** The users that make_tree.py has in mind. */
export const USERS: readonly User[] = [
  { name: 'root', uid: 0, groups: [] },
  { name: 'user 1001', uid: 1001, groups: [1001] },
  { name: 'user 1002, of group 2000', uid: 1002, groups: [1002, 2000] },
]

export function pythonProgram(name: string): string {
  return path.join(ROOT, 'test/support/programs', name)
}

/** Runs a program as a user; returns what it printed. Throws what it complained. */
export function runAs(user: User, program: string, ...args: string[]): string {
  return runWithInput('', user, program, ...args)
}

/** The same, with something to read on its standard input. */
export function runWithInput(input: string, user: User, program: string, ...args: string[]): string {
  const ids = [`--reuid=${user.uid}`, `--regid=${user.groups[0] ?? 0}`, `--groups=${user.groups.join(',')}`]
  const argv = user.uid === 0 ? [program, ...args] : ['setpriv', ...ids, program, ...args]
  return execFileSync(argv[0]!, argv.slice(1), {
    encoding: 'utf8',
    input,
    stdio: 'pipe',
    maxBuffer: 1 << 30,
    cwd: '/',
  })
}

/** Runs a program of programs/, its text given to Python as it stands: other users may not be able to read this repository. */
export function runPython(user: User, name: string, ...args: string[]): string {
  return runWithInput(fs.readFileSync(pythonProgram(name), 'utf8'), user, PYTHON, '-B', '-', ...args)
}

export function makeTree(directory: string, withClones: boolean): void {
  runPython(USERS[0]!, 'make_tree.py', directory, ...(withClones ? ['clones'] : []))
}

export type Observation = Record<string, unknown>

/** All that `user` can see of the tree. */
export function observe(user: User, directory: string): Observation {
  return JSON.parse(runPython(user, 'observe.py', directory)) as Observation
}

/** What the calls that go wrong answer to `user`. */
export function probe(user: User, directory: string): Observation {
  return JSON.parse(runPython(user, 'probe.py', directory)) as Observation
}

/** Where two observations differ: paths of keys with both values. Empty: nowhere. */
export function differences(expected: unknown, actual: unknown, at = ''): string[] {
  if (isRecord(expected) && isRecord(actual)) {
    const keys = [...new Set([...Object.keys(expected), ...Object.keys(actual)])]
    return keys.flatMap((key) => differences(expected[key], actual[key], at === '' ? key : `${at} → ${key}`))
  }
  const [one, other] = [JSON.stringify(expected), JSON.stringify(actual)]
  return one === other ? [] : [`${at}: ${short(one)} natively, ${short(other)} through the mount`]
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function short(text: string | undefined): string {
  if (text === undefined) return 'nothing'
  return text.length <= 300 ? text : `${text.slice(0, 300)}…`
}
