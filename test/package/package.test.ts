/** The package as somebody else gets it: packed, installed elsewhere, run, and its types checked. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROOT } from '../support/sources.ts'
import { linksOf } from '../unit/tidy/documents.ts'

const { name, version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'))

let elsewhere: string
let tarball: string

beforeAll(() => {
  elsewhere = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-package-'))
  // dist/ is built already, and other tests may be running from it.
  const packed = npm(ROOT, 'pack', '--json', '--ignore-scripts', '--pack-destination', elsewhere)
  tarball = path.join(elsewhere, JSON.parse(packed)[0].filename)
  fs.writeFileSync(path.join(elsewhere, 'package.json'), '{ "private": true, "type": "module" }')
  // No script may run, so nothing can be compiled.
  npm(elsewhere, 'install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', tarball)
})

afterAll(() => fs.rmSync(elsewhere, { recursive: true, force: true }))

test('holds the program and its papers, and nothing of the workshop', () => {
  const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n')
  const relative = files.map((file) => file.replace(/^package\//, ''))
  expect(relative).toEqual(expect.arrayContaining(['package.json', 'LICENSE', 'CHANGELOG.md', 'dist/index.js']))
  expect(relative.filter((file) => /^(src|test|bench|scripts|build|node_modules)\/|\.tgz$/.test(file))).toEqual([])
})

test('its papers lead to nothing that is not in it', () => {
  const root = path.join(elsewhere, 'node_modules', name)
  const papers = fs.readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.md'))
  const own = papers.filter((file) => !file.startsWith('node_modules'))
  expect(own).toEqual(expect.arrayContaining(['README.md', 'docs/OPERATIONS.md']))
  const dead = own.flatMap((document) =>
    linksOf(fs.readFileSync(path.join(root, document), 'utf8'))
      .filter((link) => !fs.existsSync(path.join(root, path.dirname(document), link)))
      .map((link) => `${document}: ${link}`),
  )
  expect(dead).toEqual([])
})

test('imports, and makes system calls without having been compiled', () => {
  const script = `
    import { SystemError, version } from '${name}'
    import { libc } from './node_modules/${name}/dist/linux/native.js'
    const samePid = libc('getpid', 'int', [])() === process.pid
    console.log(JSON.stringify({ version, samePid, code: new SystemError(2, 'open', '/x').code }))`
  const output = node(elsewhere, '--input-type=module', '--eval', script)
  expect(JSON.parse(output)).toEqual({ version, samePid: true, code: 'ENOENT' })
})

test('runs: samepage --version', () => {
  expect(execFileSync(path.join(elsewhere, 'node_modules/.bin/samepage'), ['--version'], { encoding: 'utf8' })).toBe(
    `${version}\n`,
  )
})

test('its types compile in a strict project', () => {
  fs.writeFileSync(
    path.join(elsewhere, 'user.ts'),
    `import { SystemError, version } from '${name}'
     export const text: string = version
     export const code: string = new SystemError(2, 'open').code
     // @ts-expect-error A version is no number.
     export const number: number = version`,
  )
  node(
    elsewhere,
    program('typescript', 'tsc'),
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--types',
    '',
    'user.ts',
  )
})

test('publint finds nothing', () => {
  node(ROOT, program('publint', 'publint'), 'run', '--strict', tarball)
})

test('attw: the types are right for everyone who imports ES modules', () => {
  node(ROOT, program('@arethetypeswrong/cli', 'attw'), '--profile', 'esm-only', '--no-color', tarball)
})

/** The script of a development dependency's program. */
function program(dependency: string, command: string): string {
  const directory = path.join(ROOT, 'node_modules', dependency)
  const { bin } = JSON.parse(fs.readFileSync(path.join(directory, 'package.json'), 'utf8'))
  return path.join(directory, typeof bin === 'string' ? bin : bin[command])
}

/** Runs this Node.js and returns what it printed; throws with all of its output when it fails. */
function node(cwd: string, ...args: string[]): string {
  return run(cwd, process.execPath, args)
}

function npm(cwd: string, ...args: string[]): string {
  const script = process.env.npm_execpath
  return script?.endsWith('.js') ? node(cwd, script, ...args) : run(cwd, 'npm', args)
}

function run(cwd: string, file: string, args: string[]): string {
  try {
    return execFileSync(file, args, { cwd, encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${path.basename(args[0] ?? file)} failed:\n${stdout}${stderr}`)
  }
}
