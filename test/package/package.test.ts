/** The package as somebody else gets it: packed, installed elsewhere, run, and its types checked. */
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { rolldown } from 'rolldown'
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
  expect(relative).toEqual(
    expect.arrayContaining(['package.json', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'examples/01-read.mjs']),
  )
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

test('runs in a bundle, with koffi beside it and without', async () => {
  const input = path.join(elsewhere, 'program.mjs')
  fs.writeFileSync(
    input,
    `import { PageCache, version } from '${name}'
    const use = async () => {
      const cache = await PageCache.create({ memory: '1MiB' })
      const file = await cache.open('text')
      const buffer = Buffer.alloc(5)
      await file.read(buffer, { position: 5 })
      console.log(JSON.stringify({ version, read: buffer.toString(), arena: cache.stats().arena }))
      await cache.close()
    }
    use()`,
  )
  for (const [format, extension] of [
    ['esm', 'mjs'],
    ['cjs', 'cjs'],
  ] as const) {
    // Where nothing of the package is found.
    const alone = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-bundle-'))
    try {
      fs.writeFileSync(path.join(alone, 'text'), 'some bytes')
      const bundle = await rolldown({ input, platform: 'node', external: ['koffi'] })
      const names = { entryFileNames: `program.${extension}`, chunkFileNames: `[name].${extension}` }
      await bundle.write({ dir: alone, format, ...names })
      await bundle.close()
      const run = () => JSON.parse(node(alone, `program.${extension}`))
      expect(run()).toEqual({ version, read: 'bytes', arena: 'buffer' })
      fs.symlinkSync(path.join(elsewhere, 'node_modules'), path.join(alone, 'node_modules'))
      expect(run()).toEqual({ version, read: 'bytes', arena: 'mapped' })
    } finally {
      fs.rmSync(alone, { recursive: true, force: true })
    }
  }
})

test('runs: samepage --version', () => {
  expect(execFileSync(path.join(elsewhere, 'node_modules/.bin/samepage'), ['--version'], { encoding: 'utf8' })).toBe(
    `${version}\n`,
  )
})

/** Uses everything that a user would, and returns what he would see. */
const LIBRARY = `
  import fs from 'node:fs'
  import { PageCache } from '${name}'
  const isNativeLoaded = () => process.report.getReport().sharedObjects.some((object) => object.includes('koffi'))
  const before = isNativeLoaded()
  fs.writeFileSync('file', Buffer.alloc(10000, 'bytes '))
  const cache = await PageCache.create({ memory: '1MiB' })
  const file = await cache.open('file')
  const buffer = Buffer.alloc(5)
  const count = await file.read(buffer, { position: 6 })
  const view = file.viewSync(4092, 11)
  const seen = Buffer.concat(view.parts).toString()
  view.dispose()
  await file.close()
  const { arena } = cache.stats()
  await cache.close()
  console.log(JSON.stringify({ before, after: isNativeLoaded(), arena, count, text: buffer.toString(), seen }))`

test.each([
  ['1', { after: true, arena: 'mapped' }],
  ['0', { after: false, arena: 'buffer' }],
])(
  'its library reads, with SAMEPAGE_NATIVE=%s; nothing native is loaded before a cache is made',
  (native, expected) => {
    const output = execFileSync(process.execPath, ['--input-type=module', '--eval', LIBRARY], {
      cwd: elsewhere,
      encoding: 'utf8',
      env: { ...process.env, SAMEPAGE_NATIVE: native },
    })
    const read = { before: false, count: 5, text: 'bytes', seen: 'bytes bytes' }
    expect(JSON.parse(output)).toEqual({ ...read, ...expected })
  },
)

test('its examples run where it is installed', () => {
  const example = path.join('node_modules', name, 'examples/01-read.mjs')
  expect(node(elsewhere, example)).toContain('tryRead, hot: 18 bytes')
})

test('on another system the command says that it cannot work there, and the library works', () => {
  const system = `data:text/javascript,Object.defineProperty(process, 'platform', { value: 'darwin' })`
  const command = path.join(elsewhere, 'node_modules', name, 'dist/cli/main.js')
  const { status, stderr } = spawnSync(process.execPath, ['--import', system, command, 'status'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: `samepage: the command needs Linux, this is darwin; the library (import '${name}') works here\n`,
  })
  expect(JSON.parse(node(elsewhere, '--import', system, '--input-type=module', '--eval', LIBRARY))).toMatchObject({
    arena: 'buffer',
    text: 'bytes',
  })
})

test('with a Node.js that is older than `engines` allows, the command says so; with the oldest that is allowed it runs', () => {
  const { engines } = JSON.parse(fs.readFileSync(path.join(elsewhere, 'node_modules', name, 'package.json'), 'utf8'))
  const [major, minor] = /^>=(\d+)\.(\d+)$/.exec(engines.node)!.slice(1).map(Number) as [number, number]
  const command = path.join(elsewhere, 'node_modules', name, 'dist/cli/main.js')
  const runWith = (node: string) => {
    const versions = `{ value: { ...process.versions, node: '${node}' } }`
    const older = `data:text/javascript,Object.defineProperty(process, 'versions', ${versions})`
    return spawnSync(process.execPath, ['--import', older, command, '--version'], { encoding: 'utf8' })
  }
  for (const node of [`${major}.${minor - 1}.9`, `${major - 2}.99.0`])
    expect(runWith(node)).toMatchObject({
      status: 1,
      stderr: `samepage: needs Node.js ${major}.${minor} or newer, this is ${node}\n`,
    })
  for (const node of [`${major}.${minor}.0`, `${major + 2}.0.0`]) expect(runWith(node)).toMatchObject({ status: 0 })
})

test('its types compile in a strict project, and refuse what would be a mistake', () => {
  fs.writeFileSync(
    path.join(elsewhere, 'user.ts'),
    `import { type CachedFile, PageCache, type PageCacheStats, SystemError, type View, version } from '${name}'
     export const text: string = version
     export const code: string = new SystemError(2, 'open').code
     // @ts-expect-error A version is no number.
     export const number: number = version

     export async function use(signal: AbortSignal): Promise<number | undefined> {
       await using cache: PageCache = await PageCache.create({ memory: '512MiB', direct: false })
       await using file: CachedFile = await cache.open('a.img', 'r+')
       using view: View = await file.view(0, 4096, { signal })
       const parts: readonly Uint8Array[] = view.parts
       const stats: PageCacheStats = cache.stats()
       await file.write(new Uint8Array(stats.memoryMax), { position: parts.length })
       for await (const chunk of file.createReadStream({ start: 1, signal })) void chunk
       // @ts-expect-error Where to read is always said.
       await file.read(new Uint8Array(1))
       // @ts-expect-error A file is made by the cache.
       void ((): CachedFile => ({}))
       // @ts-expect-error There is no append.
       await cache.open('a.img', 'a')
       // @ts-expect-error A view has no other bytes.
       view.parts = []
       // @ts-expect-error A miss has no count.
       const count: number = file.tryRead(new Uint8Array(1), { position: 0 })
       return count
     }`,
  )
  const types = ['--types', 'node', '--typeRoots', path.join(ROOT, 'node_modules/@types')]
  const target = ['--target', 'es2022', '--lib', 'es2022,esnext.disposable']
  // As Node.js finds modules, and as bundlers do.
  for (const how of [
    ['--module', 'nodenext'],
    ['--module', 'esnext', '--moduleResolution', 'bundler'],
  ])
    node(elsewhere, program('typescript', 'tsc'), '--noEmit', '--strict', ...target, ...how, ...types, 'user.ts')
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
