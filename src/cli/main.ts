#!/usr/bin/env node
/**
 * The `samepage` command: looks whether it can work here, then leaves the rest to program.ts. The package is installed for its library on other systems, too, and there
 * its system calls cannot even be loaded.
 */
if (process.platform !== 'linux')
  fail(`the command needs Linux, this is ${process.platform}; the library (import 'samepage-cache') works here`)
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
