/** Where sockets of mounts lie. */
import fs from 'node:fs'
import path from 'node:path'

/** Of root's mounts: for all who are let in. */
export const ROOT_DIRECTORY = '/run/samepage'

/** The directory of sockets of who runs this: /run/samepage for root, below XDG_RUNTIME_DIR for others. */
export function runtimeDirectory(): string {
  const uid = process.geteuid?.() ?? 0
  if (uid === 0) return ROOT_DIRECTORY
  const base = process.env.XDG_RUNTIME_DIR
  // Relative it is invalid (XDG Base Directory Specification), and would be another directory for each process.
  return base?.startsWith('/') ? path.join(base, 'samepage') : `/tmp/samepage-${uid}`
}

/** Whether nobody but its user, who is root or runs this, can have put anything into the directory: what answers there may be an impostor else. */
export function isTrusted(directory: string): boolean {
  try {
    const stat = fs.lstatSync(directory)
    const owner = directory === ROOT_DIRECTORY ? 0 : process.geteuid?.()
    return stat.isDirectory() && stat.uid === owner && (stat.mode & 0o022) === 0
  } catch {
    return false
  }
}
