/** The PATHs of a command: which of them there are, and in which order they are to be walked. */
import fs from 'node:fs'

export interface Argument {
  /** As it was given, without superfluous slashes and dots. */
  readonly path: string
  /** Without symbolic links. */
  readonly real: string
  /** It lies below another one, and may have been met on the walk from there. */
  readonly isInner: boolean
}

/**
 * What `paths` name, each once. Those below another one come after it, for the walk from there may never get to them: they may be
 * excluded there, or lie on another file system. What cannot be found goes to `fail`, with its errno.
 */
export function findArguments(paths: readonly string[], fail: (path: string, error: unknown) => void): Argument[] {
  const found = new Map<string, string>()
  for (const given of paths) {
    const path = tidy(given)
    try {
      // The kernel's own idea of `..`, which is not that of the name where there are symbolic links; and of '', which names nothing.
      const real = fs.realpathSync.native(path)
      if (!found.has(real)) found.set(real, path)
    } catch (error) {
      fail(path, error)
    }
  }
  const all = [...found].map(([real, path]) => ({ path, real, isInner: isBelowAny(real, found) }))
  const inner = all.filter(({ isInner }) => isInner).sort((a, b) => a.real.length - b.real.length)
  return [...all.filter(({ isInner }) => !isInner), ...inner]
}

function isBelowAny(real: string, all: ReadonlyMap<string, string>): boolean {
  for (let end = real.lastIndexOf('/'); end > 0; end = real.lastIndexOf('/', end - 1))
    if (all.has(real.slice(0, end))) return true
  return real !== '/' && all.has('/')
}

function tidy(path: string): string {
  if (path === '') return path
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (path.startsWith('/')) return `/${parts.join('/')}`
  return parts.join('/') || '.'
}
