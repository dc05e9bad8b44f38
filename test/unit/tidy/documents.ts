/** What the documents say about the repository, held against the repository. */
import fs from 'node:fs'
import path from 'node:path'
import { ROOT } from '../../support/sources.ts'

/** The documents that speak of the project as it is now. */
export function documents(): Map<string, string> {
  const docs = path.join(ROOT, 'docs')
  const names = [
    ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].filter((name) => fs.existsSync(path.join(ROOT, name))),
    ...(fs.existsSync(docs) ? fs.readdirSync(docs) : []).filter((name) => name.endsWith('.md')).map((n) => `docs/${n}`),
  ]
  return new Map(names.map((name) => [name, fs.readFileSync(path.join(ROOT, name), 'utf8')]))
}

/** Folders of the repository: what begins with one of them, in backticks, is meant as a path. */
const FOLDERS = ['src', 'docs', 'test', 'torture', 'bench', 'examples', 'scripts', 'packaging', '.ci']

/** The statements of a document that are not true, each as `document: what`. */
export function untrueStatements(document: string, text: string): string[] {
  const untrue = [
    ...pathsNamed(text).filter((name) => !fs.existsSync(path.join(ROOT, name))),
    ...linksOf(text).filter((link) => !fs.existsSync(path.join(ROOT, path.dirname(document), link))),
    ...scriptsNamed(text)
      .filter((script) => !scriptsOfPackage().includes(script))
      .map((script) => `npm run ${script}`),
  ]
  return untrue.map((what) => `${document}: ${what}`)
}

/** Paths in backticks such as `src/linux/` or `test/unit/a.test.ts:12`; patterns (`src/*.ts`, `src/<layer>`) are none. */
function pathsNamed(text: string): string[] {
  return [...withoutFences(text).matchAll(/`([^`\n]+)`/g)]
    .map((match) => (match[1] as string).replace(/[:#][\w-]+$/, ''))
    .filter((name) => FOLDERS.includes(name.split('/')[0] as string) && name.includes('/') && /^[\w./-]+$/.test(name))
}

/** Relative links of Markdown, without their anchors. */
export function linksOf(text: string): string[] {
  return [...withoutFences(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => (match[1] as string).replace(/#.*$/, ''))
    .filter((link) => link !== '' && !/^[a-z]+:/.test(link))
}

/** Scripts named as `npm run name`, examples included. */
function scriptsNamed(text: string): string[] {
  return [...text.matchAll(/\bnpm run ([\w:-]+)/g)].map((match) => match[1] as string)
}

function scriptsOfPackage(): string[] {
  return Object.keys(JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')).scripts)
}

/** A user's own `src/` may stand in an example; only prose is about this repository. */
function withoutFences(text: string): string {
  return text.replace(/^ *```[\s\S]*?^ *```/gm, '')
}
