/**
 * A program of the torture test: a list of operations by several processes, with symbolic descriptors and paths relative to a
 * directory, so that it can be performed in any directory, as often as one likes, and with any of its operations left out.
 */

export type Argument = string | number

export interface Op {
  /** Its place in the program as it was generated; stays when others are left out. */
  readonly index: number
  /** Who does it: a number into the cast of processes. */
  readonly process: number
  /** A name of the table of calls (calls.ts), or `tick`: nobody does anything for a moment. */
  readonly call: string
  readonly args: readonly Argument[]
  /** Done natively in both trees, whatever the process usually goes through. */
  readonly below?: true
}

/**
 * An outcome is one word: a number, the name of an errno, or what was read. Two of them, `[now, earlier]`, where the reader
 * opened the file before somebody changed it: a mount with close-to-open consistency may answer with either, page by page.
 */
export type Outcome = string | [now: string, earlier: string]

/** Copies from one descriptor to another. The first argument is the source's slot. */
const COPIES = new Set(['copyRange', 'sendfile'])
export const isCopy = (op: Pick<Op, 'call'>) => COPIES.has(op.call)

/** Stands for the earlier outcome where that may have been anything… */
export const ANY = '*'
/** …but an error. */
export const ANY_SUCCESS = '+'

/** How a program is to be made. The same recipe always makes the same program. */
export interface Recipe {
  seed: number
  ops: number
  processes: number
  users: number
  /** Everything that changes something happens below the mount; only reading goes through it. */
  readOnly: boolean
  /** How many of the processes work below the mount (the last ones). */
  belowProcesses: number
  /** Nothing goes through a mount, so nothing is left out that FUSE has no message for. */
  isNative: boolean
  /** The daemon reads and writes all. */
  byDaemon: boolean
}

/** Descriptors and mappings that each process has. */
export const SLOTS = 5
/** An offset behind the end of every file. */
export const OUTSIDE = 2 ** 52
export const MAPPINGS = 2

/** User 0 is root. The others have a group of their own; those with odd numbers share another one, the rest have no supplementary groups at all. */
export const userId = (user: number) => (user === 0 ? 0 : 20_000 + user)
export const SHARED_GROUP = 20_100
export const groupsOf = (user: number): number[] =>
  user === 0 ? [0] : user % 2 === 1 ? [userId(user), SHARED_GROUP] : []

/** Which user a process is: the first is root, for it also looks through the trees. */
export const userOf = (process: number, users: number) => process % users

/** Rounds of even seeds leave stores to mapped memory unsynced: nothing says when they stamp the file's times. */
export const hasLooseTimes = (seed: number) => seed % 2 === 0

/** One line for people. */
export function printOp(op: Op): string {
  const args = op.args
    .map((argument) => (typeof argument === 'string' ? JSON.stringify(argument) : argument))
    .join(', ')
  return `#${op.index} process ${op.process}${op.below ? ' (below)' : ''}: ${op.call}(${args})`
}
