/** What the JSON of every command has in common; docs/OPERATIONS.md says it once for all of them. */
import { version } from '../util/version.ts'

export interface JsonHead {
  /** Whose answer it is: `samepage-status`. */
  readonly format: `samepage-${string}`
  /** Counts changes after which a program written for the format would go wrong. */
  readonly schema: number
  /** The version of the program that prints it. */
  readonly samepage: string
}

/** The first fields of an object that `samepage COMMAND --json` prints. */
export function jsonHead(command: string, schema: number): JsonHead {
  return { format: `samepage-${command}`, schema, samepage: version }
}
