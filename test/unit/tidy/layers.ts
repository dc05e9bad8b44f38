/**
 * Which folder of src/ may import which: dependencies point downwards only.
 *
 *     index             library, linux: what the package exports
 *     cli               daemon, fuse, inspect, dedupe, demo, exclusive, homes, cache, storage, linux
 *     library           homes, cache, layout, exclusive; storage and linux in what is loaded where they work only
 *     daemon            library, fuse, exclusive, homes, cache, storage, linux
 *     fuse              linux: the wire protocol knows nothing of homes
 *     dedupe            inspect for its walk and its quiet reading, storage, linux
 *     exclusive         linux: how a client asks a mount for grants
 *     inspect           storage, linux
 *     demo              linux: it runs the command and reads files
 *     sim               homes, cache, layout, storage: it simulates Linux, so it may not call it; library for its readers, daemon and exclusive for the protocol of grants,
 *                       all of which it runs
 *     homes             cache, storage; linux only in its adapter, `linux-*.ts`
 *     cache             layout: pure, no I/O
 *     layout            nothing: the bytes of shared memory
 *     storage           linux
 *     linux             nothing
 *     util              nothing, and everyone may import it
 */
import path from 'node:path'
import { withoutComments } from '../../support/sources.ts'

const LAYERS: Record<string, readonly string[]> = {
  index: ['linux', 'library'],
  cli: ['linux', 'storage', 'cache', 'homes', 'fuse', 'exclusive', 'inspect', 'dedupe', 'demo', 'daemon'],
  library: ['linux', 'storage', 'layout', 'cache', 'homes', 'exclusive'],
  daemon: ['linux', 'storage', 'cache', 'homes', 'fuse', 'exclusive', 'library'],
  fuse: ['linux'],
  exclusive: ['linux'],
  inspect: ['linux', 'storage'],
  demo: ['linux'],
  dedupe: ['linux', 'storage', 'inspect'],
  sim: ['storage', 'layout', 'cache', 'homes', 'exclusive', 'library', 'daemon'],
  homes: ['storage', 'cache'],
  cache: ['layout'],
  layout: [],
  storage: ['linux'],
  linux: [],
  util: [],
}

/** Layers that do no I/O: storage, memory, clock and randomness come in as parameters. */
const PURE: readonly string[] = ['cache', 'layout', 'homes', 'sim']

/** The packages that only one layer may use. */
const PACKAGES: Record<string, readonly string[]> = {
  koffi: ['linux'],
  commander: ['cli', 'sim'],
  'cli-progress': ['cli'],
  'cli-table3': ['cli'],
}

/** Files that tie a pure layer to the outside: its adapters to Linux, and the simulator's command. */
function isAdapter(file: string): boolean {
  return path.basename(file).startsWith('linux-') || file === 'src/sim/main.ts'
}

/** The layer of a file of src/: its folder, or its own name at the top. */
function layerOf(file: string): string {
  const [first = ''] = path.relative('src', file).split('/')
  return first.replace(/\.ts$/, '')
}

/**
 * The modules that a source names: in imports and exports (of types too: a type is a dependency), `import()`,
 * and the URLs of worker scripts.
 */
export function importsOf(source: string): string[] {
  const code = withoutComments(source)
  const patterns = [
    /^[ \t]*(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^[ \t]*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]/g,
    /\bnew URL\(\s*['"](\.[^'"]+\.[jt]s)['"]\s*,\s*import\.meta\.url/g,
  ]
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] as string))
}

/** What is wrong with the imports of these files (path from the root → text), one sentence each. */
export function importViolations(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([file, source]) =>
    importsOf(source).flatMap((specifier) => violation(file, specifier) ?? []),
  )
}

function violation(file: string, specifier: string): string | undefined {
  const layer = layerOf(file)
  const allowed = LAYERS[layer]
  if (allowed === undefined) return `${file}: '${layer}' is not in the table of layers`
  if (!specifier.startsWith('.')) return packageViolation(file, layer, specifier)

  const target = path.join(path.dirname(file), specifier)
  if (!target.startsWith('src/')) return `${file} imports ${specifier}, which lies outside of src/`
  const to = layerOf(target)
  const fine = to === layer || to === 'util' || allowed.includes(to) || (isAdapter(file) && to === 'linux')
  return fine ? undefined : `${file} imports ${target}: ${layer} may not import ${to}`
}

function packageViolation(file: string, layer: string, specifier: string): string | undefined {
  if (specifier.startsWith('node:')) {
    const pure = PURE.includes(layer) && !isAdapter(file)
    return pure ? `${file} imports ${specifier}: ${layer} does no I/O` : undefined
  }
  const owners = PACKAGES[specifier]
  if (owners === undefined || owners.includes(layer)) return undefined
  return `${file} imports ${specifier}, which only ${owners.join(', ')} may`
}
