/** PostgreSQL with its data directory on the mount: it works, survives crashes, and clones of a database share memory. */
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cachedPages } from '../../src/linux/cachestat.ts'
import { eventually } from '../support/eventually.ts'
import { PAGE, run, withFd } from '../support/files.ts'
import { checkPages, createCluster, type PostgresServer, startServer } from '../support/postgres.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { startTwins, type Twins } from '../support/twins.ts'

/** Of pgbench: 100,000 accounts, 13 MB, for each. */
const SCALE = 2
const SEED = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)

for (const [kind, passthrough] of [
  ['xfs', true],
  ['xfs', false],
] as const)
  describeWith(
    ['root', 'loop', 'fuse', kind, 'postgresql', 'program:rsync'],
    `PostgreSQL on ${kind}, ${passthrough ? 'with passthrough' : 'through the daemon'},`,
    () => {
      let twins: Twins
      beforeAll(async () => {
        twins = await startTwins(kind, passthrough ? {} : { passthrough: false })
        const base = twins.make('base').mounted
        createCluster(base)
        await using server = await startServer(base)
        server.run('pgbench', '-i', '-q', '-s', String(SCALE), 'postgres')
        server.sql('CREATE EXTENSION amcheck')
      })
      afterAll(() => twins?.[Symbol.asyncDispose]())

      test(`a crash of a clone and one of the original (seed ${SEED})`, async () => {
        const random = new Random(SEED)
        run('cp', '-a', '--reflink=auto', twins.places('base').mounted, twins.places('clone').mounted)
        for (const name of ['clone', 'base']) await crash(twins.places(name).mounted, random.below(2000))
        for (const name of ['clone', 'base']) {
          for (const place of [twins.places(name).mounted, twins.places(name).source]) checkPages(place)
          twins.expectShown(name)
        }
      })

      if (passthrough)
        test('four clones that are asked share memory', async () => {
          const names = [1, 2, 3, 4].map((n) => `asked ${n}`)
          {
            // A reader tidies pages that writers left behind, and so writes them. Here there is nothing to tidy.
            await using server = await startServer(twins.places('base').mounted)
            server.sql('VACUUM (FREEZE)')
          }
          for (const name of names)
            run('cp', '-a', '--reflink=auto', twins.places('base').mounted, twins.places(name).mounted)
          const servers: PostgresServer[] = []
          try {
            for (const name of names) servers.push(await startServer(twins.places(name).mounted))
            const table = servers[0]!.sql("SELECT pg_relation_filepath('pgbench_accounts')")
            const results = await Promise.all(
              servers.map((server) => server.start('pgbench', '-S', '-n', '-c', '2', '-t', '1000', 'postgres')),
            )
            for (const { status, output } of results) expect(status, output).toBe(0)
            const answers = servers.map((server) => server.sql('SELECT count(*), sum(abalance) FROM pgbench_accounts'))
            expect(new Set(answers).size).toBe(1)
            expect(answers[0]).toContain(`${SCALE * 100_000}|`)
            const tables = names.map((name) => path.join(twins.places(name).source, table))
            const { homes } = await twins.mount.status()
            const size = fs.statSync(tables[0]!).size
            expect(homes.homes).toBeGreaterThanOrEqual(1)
            // All of the table is in memory, once.
            expect(homes.cachedBytes).toBeGreaterThan(size * 0.9)
            expect(homes.nativeBytes - homes.cachedBytes).toBeGreaterThan(2.5 * size)
            for (const file of tables) expect(withFd(file, cachedPages) * PAGE, file).toBeLessThan(size / 20)
          } finally {
            for (const server of servers) await server.stop()
          }
          for (const name of names) checkPages(twins.places(name).source)
        })
    },
  )

function committed(server: PostgresServer): number {
  return Number(server.sql('SELECT count(*) FROM pgbench_history'))
}

/** Lets transactions run on the cluster for some time, kills the server, starts it again and checks that all is there and agrees. */
async function crash(data: string, afterMs: number): Promise<void> {
  let acknowledged: number
  {
    await using server = await startServer(data)
    const before = committed(server)
    const load = server.start('pgbench', '-n', '-c', '4', '-T', '60', 'postgres')
    await eventually(() => expect(committed(server)).toBeGreaterThan(before))
    await sleep(afterMs)
    await server.kill()
    const { output } = await load
    acknowledged = before + Number(/transactions actually processed: (\d+)/.exec(output)?.[1] ?? Number.NaN)
  }
  await using server = await startServer(data)
  expect(server.log).toContain('automatic recovery in progress')
  const sums = ['abalance) FROM pgbench_accounts', 'tbalance) FROM pgbench_tellers', 'bbalance) FROM pgbench_branches']
  const history = server.sql('SELECT coalesce(sum(delta), 0) FROM pgbench_history')
  for (const sum of sums) expect(server.sql(`SELECT sum(${sum}`)).toBe(history)
  const there = committed(server)
  expect(there).toBeGreaterThanOrEqual(acknowledged)
  expect(server.run('pg_amcheck', '--heapallindexed', '--parent-check', 'postgres')).toBe('')
}
