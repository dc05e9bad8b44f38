/**
 * A process with a cache that is attached to a mount: told step by step what to do, by lines of JSON, several at a time.
 * Arguments: the build, the mount, options of the cache as JSON.
 */
import readline from 'node:readline'

const [dist, mount, options] = process.argv.slice(2)
const { PageCache } = await import(`${dist}/index.js`)
const AsyncFunction = (async () => {}).constructor

/** What steps keep for later ones. */
const kept = { PageCache }
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)
try {
  kept.cache = await PageCache.attach(mount, JSON.parse(options))
  say({ id: 0, value: null })
} catch (error) {
  say({ id: 0, error: error.code ?? String(error) })
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, code, values } = JSON.parse(line)
  const step = new AsyncFunction('kept', ...Object.keys(values), code)
  step(kept, ...Object.values(values)).then(
    (value) => say({ id, value: value ?? null }),
    (error) => say({ id, error: error.code ?? String(error.stack) }),
  )
}
await kept.cache?.close()
