/** What anybody can see of a tree, for comparing both sides of a mount: but for what happens without anybody's doing, times of access and blocks. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'

export const digest = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex')

/** Names, attributes and contents below `directory`. */
export function seen(directory: string): unknown {
  const entries = fs.readdirSync(directory).sort()
  return Object.fromEntries([['.', statOf(directory)], ...entries.map((name) => [name, entry(`${directory}/${name}`)])])
}

function entry(file: string): unknown {
  const stat = fs.lstatSync(file)
  if (stat.isDirectory()) return seen(file)
  if (stat.isSymbolicLink()) return { ...statOf(file), target: fs.readlinkSync(file) }
  // Nobody writes into FIFOs here.
  return stat.isFile() ? { ...statOf(file), content: digest(fs.readFileSync(file)) } : statOf(file)
}

export function statOf(file: string): object {
  const { mode, nlink, uid, gid, size, mtimeNs, ctimeNs } = fs.lstatSync(file, { bigint: true })
  return { mode, nlink, uid, gid, size, mtime: String(mtimeNs), ctime: String(ctimeNs) }
}
