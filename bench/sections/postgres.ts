/** Four clones of a database that are asked at once: PostgreSQL opens its files for writing, and mostly reads. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { forgetFile } from '../../src/demo/reading.ts'
import { createCluster, type PostgresServer, postgresDirectory, startServer } from '../../test/support/postgres.ts'
import { add, type Bench, compare, load, type Place, type Section, withXfs } from '../bench.ts'
import { type Side, UNIT } from '../figure.ts'
import { homesOf, PAGE_BYTES, pagesOf } from '../held.ts'
import { openSide } from '../sides.ts'

const CLONES = ['clone-1', 'clone-2', 'clone-3', 'clone-4']
const SIDES = ['samepage', 'bindfs', 'native'] as const
const PROCESSORS = '0,1'
const ANYWHERE = 'all on 0 and 1'

export const postgres: Section = {
  name: 'postgres',
  title: 'pgbench -S on four clones of a database, by four servers at once, each with 2 MB of shared_buffers',
  async run(bench) {
    if (postgresDirectory() === undefined) return bench.say('left out: PostgreSQL is not installed')
    await withXfs(bench, 16 * 2 ** 30, async (place) => {
      await writeClones(place, bench.quick ? 1 : 10)
      const memory: Partial<Record<Side, number[]>> = {}
      const before = load()
      await compare(bench, {
        name: 'transactions, all servers together',
        unit: UNIT.PER_SECOND,
        sides: SIDES,
        targets: [{ against: 'bindfs', min: 1 }],
        processors: ANYWHERE,
        measure: (side) => withServers(bench, side, place, (servers) => ask(servers, bench.quick ? 200 : 5000)),
      })
      for (const side of ['samepage', 'native'] as const) memory[side] = [await cacheTaken(bench, side, place)]
      add(bench, {
        name: 'page cache that reading all\ntables takes',
        unit: UNIT.BYTES,
        samples: memory,
        targets: [{ against: 'native', min: 2 }],
        processors: ANYWHERE,
        load: [before, load()],
      })
    })
  },
}

async function writeClones({ source }: Place, scale: number): Promise<void> {
  const base = path.join(source, 'base')
  fs.mkdirSync(base)
  createCluster(base)
  const server = await startServer(base)
  server.run('pgbench', '-i', '-q', '-s', String(scale), 'postgres')
  await server.stop()
  for (const clone of CLONES) execFileSync('cp', ['-a', '--reflink=always', base, path.join(source, clone)])
}

async function withServers<Result>(
  bench: Bench,
  side: Side,
  place: Place,
  use: (servers: PostgresServer[], mountpoint: string) => Promise<Result>,
): Promise<Result> {
  const mount = await openSide(bench, side, place, PROCESSORS)
  const servers: PostgresServer[] = []
  try {
    for (const clone of CLONES) servers.push(await startServer(path.join(mount.path, clone)))
    // In memory at the beginning; this machine may forget what nobody touches for a minute.
    for (const server of servers) readAll(server)
    return await use(servers, mount.path)
  } finally {
    for (const server of servers) await server.stop()
    mount.stop()
  }
}

function readAll(server: PostgresServer): void {
  server.sql('SELECT sum(abalance) FROM pgbench_accounts')
}

/** Transactions a second. */
async function ask(servers: readonly PostgresServer[], transactions: number): Promise<number> {
  const runs = servers.map((server) => server.start('pgbench', '-S', '-n', '-t', String(transactions), 'postgres'))
  let sum = 0
  for (const { status, output } of await Promise.all(runs)) {
    if (status !== 0) throw new Error(`pgbench: ${output}`)
    sum += Number(/tps = ([\d.]+)/.exec(output)?.[1])
  }
  return sum
}

/** Bytes of the clones in the page cache, whoever owns the pages: the files themselves, or homes. */
async function cacheTaken(bench: Bench, side: 'samepage' | 'native', { source, outside }: Place): Promise<number> {
  const files = CLONES.flatMap((clone) =>
    fs
      .readdirSync(path.join(source, clone), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name)),
  )
  for (const file of files) forgetFile(file)
  return withServers(bench, side, { source, outside }, async (servers, mountpoint) => {
    for (const server of servers) readAll(server)
    const own = files.filter((file) => fs.existsSync(file)).reduce((sum, file) => sum + pagesOf(file) * PAGE_BYTES, 0)
    return own + (side === 'native' ? 0 : homesOf(bench, mountpoint).cachedBytes)
  })
}
