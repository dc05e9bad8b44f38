/** Which files are looked at: globs against the path from the argument, `/` between components. */
import picomatch from 'picomatch'
import type { Entry } from './walk.ts'

export interface Globs {
  /** Files to look at; all if there is none. */
  include: readonly string[]
  /** Files and directories to leave out, with everything below. */
  exclude: readonly string[]
}

/** Decides about an entry of the walk. A pattern without a slash (but for one at its
 * end) goes by the name alone, at whatever depth; a slash at its beginning ties it to the top. */
export function globFilter({ include, exclude }: Globs): (entry: Entry, isDirectory: boolean) => boolean {
  if (include.length === 0 && exclude.length === 0) return () => true
  const isIncluded = include.length === 0 ? () => true : matcher(include)
  const isExcluded = exclude.length === 0 ? () => false : matcher(exclude)
  return (entry, isDirectory) => {
    const path = entry.relativePath()
    return !isExcluded(path) && (isDirectory || isIncluded(path))
  }
}

function matcher(patterns: readonly string[]): (path: string) => boolean {
  const anchored = patterns.map((pattern) => {
    const trimmed = pattern.replace(/^\.?\/+|\/+$/g, '')
    return trimmed.includes('/') || pattern.startsWith('/') ? trimmed : `**/${trimmed}`
  })
  // Hidden files are files.
  return picomatch(anchored, { dot: true })
}
