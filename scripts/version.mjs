// Part of `npm version`: writes the version that package.json has by now into src/util/version.ts, for the commit that npm makes.
import fs from 'node:fs'
import { fileURLToPath } from 'node:url'

const { version } = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const source = fileURLToPath(new URL('../src/util/version.ts', import.meta.url))
const old = fs.readFileSync(source, 'utf8')
fs.writeFileSync(
  source,
  old.replace(/(version: string = )'[^']*'/, (_, before) => `${before}'${version}'`),
)
