// Builds the documentation site from the comments of src/index.ts and the pages of docs/ to build/docs. Warnings are errors.
//
// TypeDoc reads the compiler's own structures, and does not know TypeScript 7 yet. So it is no dependency of this package: it and a TypeScript that it
// knows are installed beside each other in build/typedoc, from the lock file here.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = path.join(here, '../..')
const tools = path.join(root, 'build/typedoc')

installTools()
run(process.execPath, [
  path.join(tools, 'node_modules/typedoc/bin/typedoc'),
  '--options',
  path.join(here, 'typedoc.json'),
])

function installTools() {
  const lock = fs.readFileSync(path.join(here, 'package-lock.json'))
  const installed = path.join(tools, 'package-lock.json')
  if (fs.existsSync(path.join(tools, 'node_modules/typedoc')) && lock.equals(fs.readFileSync(installed))) return
  fs.mkdirSync(tools, { recursive: true })
  for (const name of ['package.json', 'package-lock.json'])
    fs.copyFileSync(path.join(here, name), path.join(tools, name))
  const flags = ['ci', '--prefix', tools, '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
  const npm = process.env.npm_execpath
  if (npm?.endsWith('.js')) run(process.execPath, [npm, ...flags])
  else run('npm', flags)
}

/** @param {string} program @param {string[]} args */
function run(program, args) {
  const { status } = spawnSync(program, args, { cwd: root, stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
