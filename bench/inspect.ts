/** `samepage inspect` over many small files, beside `find` with stat: hot and cold name caches. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { cloneFile } from '../src/linux/clone.ts'
import { type Bench, compare, type Section, withXfs } from './bench.ts'
import { type Side, UNIT } from './figure.ts'

const FILES = 1_000_000
const FILES_QUICK = 20_000
const FILES_PER_DIRECTORY = 1000
/** 300,000 files a minute. */
const FILES_PER_SECOND_MIN = 5000

export const inspectSpeed: Section = {
  name: 'inspect',
  title: `inspect beside 'find -printf %s', over ${FILES.toLocaleString('en-US')} files of up to 4 KiB, three in ten of which share`,
  run: (bench) =>
    withXfs(bench, 32 * 2 ** 30, async ({ source }) => {
      const count = bench.quick ? FILES_QUICK : FILES
      writeStore(source, count)
      fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
      // Once, to fill the name cache.
      await seconds(bench, 'native', source)
      for (const temperature of ['hot', 'cold'] as const) {
        await compare(bench, {
          name: `walk with ${temperature} name cache`,
          unit: UNIT.SECONDS,
          sides: ['samepage', 'native'],
          targets: temperature === 'hot' ? [{ max: count / FILES_PER_SECOND_MIN }] : [],
          processors: 'any',
          measure: async (side) => {
            if (temperature === 'cold') fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
            return seconds(bench, side, source)
          },
        })
      }
    }),
}

async function seconds(bench: Bench, side: Side, directory: string): Promise<number> {
  const [program, ...args] =
    side === 'native'
      ? ['find', directory, '-type', 'f', '-printf', '%s\\n']
      : [...bench.program, 'inspect', '--json', directory]
  const began = performance.now()
  const { status, stderr } = spawnSync(program!, args, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`)
  return (performance.now() - began) / 1000
}

/** As a package store has them: of ten files one is empty, six are their own, two are clones of a third. */
function writeStore(directory: string, count: number): void {
  const content = Buffer.alloc(4096, 'package')
  for (let i = 0; i < count; i++) {
    const inside = path.join(directory, `d${Math.floor(i / FILES_PER_DIRECTORY)}`)
    if (i % FILES_PER_DIRECTORY === 0) fs.mkdirSync(inside)
    const fd = fs.openSync(path.join(inside, `f${i}`), 'wx')
    const kind = i % 10
    if (kind === 2 || kind === 3) {
      const original = fs.openSync(path.join(inside, `f${i - kind + 1}`), 'r')
      if (cloneFile(fd, original) < 0) throw new Error('this file system has no reflinks')
      fs.closeSync(original)
    } else if (kind !== 0) fs.writeSync(fd, content, 0, ((i * 37) % 4096) + 1)
    fs.closeSync(fd)
  }
  spawnSync('sync', ['-f', directory])
}
