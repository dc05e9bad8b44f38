/** The project's own files, read as text: for the tests that look at the code instead of running it. */
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const above = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/** The root of the repository, without a slash at its end. Compiled for the benchmark this file lies below build/. */
export const ROOT = fs.existsSync(path.join(above, 'package.json')) ? above : path.dirname(above)

/** Text of the files below `directory` whose name ends in `suffix`, by their path from the root. */
export function readTree(directory: string, suffix: string): Map<string, string> {
  const absolute = path.join(ROOT, directory)
  if (!fs.existsSync(absolute)) return new Map()
  const names = fs.readdirSync(absolute, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(suffix))
  return new Map(
    names.sort().map((name) => [path.join(directory, name), fs.readFileSync(path.join(absolute, name), 'utf8')]),
  )
}

/**
 * TypeScript without its comments. The contents of strings and templates stay, so `//` in a URL is no comment;
 * a regular expression that contains a quote or a comment sign can mislead it.
 */
export function withoutComments(source: string): string {
  return source.replace(
    /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (_, text: string | undefined) => text ?? '',
  )
}
