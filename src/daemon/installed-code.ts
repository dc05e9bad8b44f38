/**
 * Whether the program's files are still those that the process was started from. Node.js reads a thread's files when the thread starts, and of one that starts later they may be gone, or be those of
 * another version by then: that would take the tables which threads share for something else.
 */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** What a thread loads besides, and may be of a version of its own: its part in C is loaded for all threads once, and takes no other version's JavaScript. */
const KOFFI = createRequire(import.meta.url).resolve('koffi')
/** `dist`, or `src` where the sources themselves run. */
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const EXTENSION = path.extname(import.meta.url)

export class InstalledCode {
  readonly #root: string
  readonly #atStart: string

  constructor(root = ROOT) {
    this.#root = root
    this.#atStart = stateOf(root)
  }

  /** Looks at a few hundred files: milliseconds. */
  get isReplaced(): boolean {
    try {
      return stateOf(this.#root) !== this.#atStart
    } catch {
      return true
    }
  }
}

/** Not by times alone: package managers set those of all versions alike. Nor by the ctime, which moves when somebody makes a link. */
function stateOf(root: string): string {
  const names = fs.readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(EXTENSION))
  return [...names.sort(), KOFFI]
    .map((name) => {
      const { ino, size, mtimeNs } = fs.statSync(path.resolve(root, name), { bigint: true })
      return `${name} ${ino} ${size} ${mtimeNs}`
    })
    .join('\n')
}
