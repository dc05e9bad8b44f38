/** What all commands ask of their arguments. */
import { InvalidArgumentError } from 'commander'
import { parseGlob } from '../inspect/globs.ts'
import { UserError } from '../util/user-error.ts'

/** A path as it was given. An empty one, which an unset variable of a script leaves, would be taken for the current directory. */
export function givenPath(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.')
  return text
}

/** Likewise of an argument that takes several. */
export function givenPaths(text: string, before: readonly string[] = []): string[] {
  return [...before, givenPath(text)]
}

/** Likewise of an option that takes globs, which can match something. */
export function givenGlobs(text: string, before: readonly string[] = []): string[] {
  const all = givenPaths(text, before)
  try {
    parseGlob(text)
  } catch (error) {
    throw error instanceof UserError ? new InvalidArgumentError(error.message) : error
  }
  return all
}
