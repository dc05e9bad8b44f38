/** Where sockets of mounts lie. */
import path from 'node:path'

/** Of root's mounts: for all who are let in. */
export const ROOT_DIRECTORY = '/run/samepage'

/** The directory of sockets of who runs this: /run/samepage for root, below XDG_RUNTIME_DIR for others. */
export function runtimeDirectory(): string {
  const uid = process.geteuid?.() ?? 0
  if (uid === 0) return ROOT_DIRECTORY
  const base = process.env.XDG_RUNTIME_DIR
  return base !== undefined && base !== '' ? path.join(base, 'samepage') : `/tmp/samepage-${uid}`
}
