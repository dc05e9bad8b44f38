// Compiles src/ to dist/, and removes from dist/ what no longer has a source, so that neither a test nor a package
// can pick it up. Files that are still wanted are overwritten in place: a program may be running from them.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

removeOrphans(path.join(root, 'dist'), path.join(root, 'src'))
const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
if (status !== 0) process.exit(status ?? 1)

/** @param {string} output @param {string} source */
function removeOrphans(output, source) {
  if (!fs.existsSync(output)) return
  for (const entry of fs.readdirSync(output, { withFileTypes: true })) {
    const compiled = path.join(output, entry.name)
    const original = path.join(source, entry.name)
    if (entry.isDirectory()) removeOrphans(compiled, original)
    else if (!fs.existsSync(original.replace(/\.(d\.ts|js)$/, '.ts'))) fs.rmSync(compiled)
  }
  if (fs.readdirSync(output).length === 0) fs.rmdirSync(output)
}
