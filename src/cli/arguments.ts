/** What all commands ask of their arguments. */
import { InvalidArgumentError } from 'commander'

/** A path as it was given. An empty one, which an unset variable of a script leaves, would be taken for the current directory. */
export function givenPath(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.')
  return text
}

/** Likewise of an argument that takes several. */
export function givenPaths(text: string, before: readonly string[] = []): string[] {
  return [...before, givenPath(text)]
}
