/** The pieces of code in docs/LIBRARY.md: compiled as they are printed, and run, within what a reader would write around them. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { noise } from '../support/files.ts'
import { BUILT, describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-snippets-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

const CACHE = `import { PageCache } from 'samepage-cache'\nconst cache = await PageCache.create({ memory: '1MiB' })\n`

/** By how it begins: what each is put in. */
const PROGRAMS: Record<string, (snippet: string) => Record<string, string>> = {
  'import { PageCache }': (snippet) => ({
    'using.ts': `${snippet}\nconsole.log(buffer[0], view.bytes[0])`,
  }),
  '// In the thread that made the cache': (snippet) => {
    const [keeper, worker] = snippet.split('// In the worker.\n') as [string, string]
    const close = 'await file.close()\nawait cache.close()\n'
    return {
      'threads.ts': `import { Worker } from 'node:worker_threads'\n${CACHE}${keeper}
        worker.on('message', async (size) => { console.log(size); await cache.close() })`,
      'worker.ts': `import { parentPort, workerData } from 'node:worker_threads'
        import { PageCache } from 'samepage-cache'\n${worker}parentPort!.postMessage(file.size)\n${close}`,
    }
  },
  "const cache = await PageCache.create({ memory: '512MiB', merge": (snippet) => {
    const [create, ...rest] = snippet.split('\n')
    return {
      'merging.ts': `import { PageCache } from 'samepage-cache'\n${create}
        const [file, other] = [await cache.open('table.db'), await cache.open('clones/db-17.img')]
        ${rest.join('\n')}\nconsole.log(cache.stats().merge!.pagesSharing)
        await file.close()\nawait other.close()\nawait cache.close()`,
    }
  },
  "const file = await cache.open('table.db', 'r+')": (snippet) => ({
    'grants.ts': `import fs from 'node:fs'\n${CACHE}const before = fs.readFileSync('table.db')[8192]!\n${snippet}
      console.log(fs.readFileSync('table.db')[8192]! - before)\nawait file.close()\nawait cache.close()`,
  }),
  // Compiled only: there is no such mount.
  "const cache = await PageCache.attach('/mnt/db'": (snippet) => ({
    'attached.ts': `import { PageCache } from 'samepage-cache'\n${snippet}`,
  }),
}

describeWith(['build'], 'the pieces of code', () => {
  beforeAll(() => {
    const modules = path.join(directory, 'node_modules')
    fs.mkdirSync(path.join(modules, 'samepage-cache'), { recursive: true })
    fs.symlinkSync(path.join(ROOT, 'package.json'), path.join(modules, 'samepage-cache/package.json'))
    fs.symlinkSync(path.resolve(BUILT), path.join(modules, 'samepage-cache/dist'))
    for (const name of ['@types', 'undici-types'])
      fs.symlinkSync(path.join(ROOT, 'node_modules', name), path.join(modules, name))
    fs.writeFileSync(path.join(directory, 'package.json'), JSON.stringify({ type: 'module' }))
    fs.mkdirSync(path.join(directory, 'clones'))
    const content = noise(20_000, 1)
    for (const at of [0, 8192]) content[at] = 7
    for (const name of ['table.db', 'clones/db-17.img']) fs.writeFileSync(path.join(directory, name), content)
    const document = fs.readFileSync(path.join(ROOT, 'docs/LIBRARY.md'), 'utf8')
    const snippets = [...document.matchAll(/^```(?:js|ts)\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code)
    expect(snippets.length).toBe(Object.keys(PROGRAMS).length)
    for (const [beginning, program] of Object.entries(PROGRAMS)) {
      const snippet = snippets.find((each) => each.startsWith(beginning))
      if (snippet === undefined) throw new Error(`none begins with ${beginning}`)
      for (const [name, code] of Object.entries(program(snippet))) fs.writeFileSync(path.join(directory, name), code)
    }
    const target = ['--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--module', 'nodenext']
    const files = fs.readdirSync(directory).filter((name) => name.endsWith('.ts'))
    const compiler = path.join(ROOT, 'node_modules/.bin/tsc')
    execFileSync(compiler, ['--strict', '--skipLibCheck', '--types', 'node', ...target, ...files], { cwd: directory })
  }, 60_000)

  test.each([
    ['using.js', '7 7'],
    ['threads.js', '20000'],
    // Of five pages each has an equal one in the other file.
    ['merging.js', '5'],
    ['grants.js', '1'],
  ])('%s does what it says', (program, printed) => {
    expect(execFileSync(process.execPath, [program], { cwd: directory, encoding: 'utf8' }).trim()).toBe(printed)
  })
})
