#!/usr/bin/env node
/**
 * The `samepage` command: looks whether it can work here, then leaves the rest to program.ts. The package is installed for its library on other systems, too, and there
 * its system calls cannot even be loaded; and an old Node.js lacks what the other modules import.
 */
/** As package.json has it under `engines`; a test holds both together. */
const NODE_MIN = [20, 19] as const

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (process.platform !== 'linux')
  fail(`the command needs Linux, this is ${process.platform}; the library (import 'samepage-cache') works here`)
else if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1]))
  fail(`needs Node.js ${NODE_MIN.join('.')} or newer, this is ${process.versions.node}`)
else {
  const loaded = await import('./program.ts').catch((error) => error)
  if (loaded instanceof Error) fail(`cannot be loaded (${loaded.message}); was it installed with --omit=optional?`)
  else await loaded.run()
}

function fail(why: string): void {
  process.stderr.write(`samepage: ${why}\n`)
  process.exitCode = 1
}

export {}
