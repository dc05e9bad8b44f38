/** What the flags of an open(2) mean for how the file is served, and with which it is opened below. */
import { O_ACCMODE, O_APPEND, O_DIRECT, O_DSYNC, O_NONBLOCK, O_RDONLY, O_SYNC } from '../linux/file.ts'

export const isWriting = (flags: number): boolean => (flags & O_ACCMODE) !== O_RDONLY

/**
 * Who opens a file like this is passed through, where nobody has it open, and the file shares nothing by address: writers, for what shares by content may change with any write, and
 * who wants no cache.
 */
export const passesArena = (flags: number): boolean => isWriting(flags) || (flags & O_DIRECT) !== 0

/** The flags with which a file is opened below for a client that gave `flags`. */
export function flagsBelow(flags: number): number {
  // Who finds a lease waits elsewhere: see handlers/leased.ts.
  return (isWriting(flags) ? flags & (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC) : 0) | O_NONBLOCK
}
