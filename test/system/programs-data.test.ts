/** Programs that write into the middle of files and rely on locks, mappings and direct I/O: SQLite and fio. */
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { clone, MEBIBYTE, noise, run, writeSynced } from '../support/files.ts'
import type { LoopKind } from '../support/loopfs.ts'
import { PYTHON, pythonProgram } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { startTwins, type Twins } from '../support/twins.ts'

const SIZE = 16 * MEBIBYTE

/** fio's ways to write, each in blocks of many sizes, all of the file several times over. */
const ENGINES: Record<string, string[]> = {
  psync: ['--ioengine=psync', '--bsrange=512-64k', '--fsync=64'],
  mmap: ['--ioengine=mmap', '--bsrange=4k-64k', '--bs_unaligned'],
  'libaio, direct': ['--ioengine=libaio', '--direct=1', '--iodepth=8', '--bsrange=4k-64k'],
  'io_uring, buffered': ['--ioengine=io_uring', '--iodepth=8', '--bsrange=512-64k'],
}

for (const [kind, passthrough] of [
  ['xfs', true],
  ['xfs', false],
  ['btrfs', true],
] as const satisfies [LoopKind, boolean][])
  describeWith(
    ['root', 'loop', 'fuse', kind, 'program:python3', 'program:fio', 'program:rsync'],
    `on ${kind}, ${passthrough ? 'with passthrough' : 'through the daemon'},`,
    () => {
      let twins: Twins
      beforeAll(async () => {
        twins = await startTwins(kind, passthrough ? {} : { passthrough: false })
      })
      afterAll(() => twins?.[Symbol.asyncDispose]())

      test.each(['delete', 'wal'])('SQLite, journal mode %s: several writers, one of them killed', (mode) => {
        const { mounted, source } = twins.make(`sqlite ${mode}`)
        // Of a clone of this size the daemon serves every read and write.
        const filled = path.join(source, 'filled')
        const sql =
          'CREATE TABLE filling AS WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 12000) SELECT i, randomblob(1000) AS b FROM n'
        run(PYTHON, '-c', 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])', filled, sql)
        clone(filled, path.join(source, 'clone'))
        const before = fs.readFileSync(filled)
        for (const name of ['small', 'clone']) {
          const said = run(PYTHON, pythonProgram('sqlite_writers.py'), path.join(mounted, name), mode, '4', '40', '7')
          const expected = { mode, integrity: ['ok'], sum: 50_000, lost: [], unasked: false, failed: [] }
          expect(JSON.parse(said), name).toEqual(expected)
        }
        expect(fs.readFileSync(filled).equals(before)).toBe(true)
        twins.expectShown(`sqlite ${mode}`)
      })

      test.each(kind === 'xfs' && passthrough ? Object.keys(ENGINES) : ['mmap', 'libaio, direct'])(
        'fio --verify, %s',
        async (engine) => {
          const { mounted, source } = twins.make(`fio ${engine}`)
          writeSynced(path.join(source, 'original'), noise(SIZE, 1))
          clone(path.join(source, 'original'), path.join(source, 'clone'))
          const written = async () =>
            (await twins.mount.status()).requests.find(({ name }) => name === 'WRITE')?.count ?? 0
          for (const name of ['private', 'clone']) {
            const before = await written()
            const fio = (directory: string, ...more: string[]) =>
              run(
                'fio',
                '--name=job',
                `--filename=${path.join(directory, name).replaceAll(':', '\\:')}`,
                `--size=${SIZE}`,
                '--rw=randwrite',
                '--verify=crc32c',
                '--verify_fatal=1',
                '--verify_state_save=0',
                '--randseed=7',
                ...ENGINES[engine]!,
                ...more,
              )
            fio(mounted)
            // A file of its own is the kernel's business, if it may be; a clone is the daemon's.
            expect((await written()) > before).toBe(name === 'clone' || !passthrough)
            // The same data are in the source, and the file is as it was for whoever opens it now.
            for (const place of [source, mounted]) fio(place, '--verify_only')
          }
          expect(fs.readFileSync(path.join(mounted, 'original')).equals(noise(SIZE, 1))).toBe(true)
          twins.expectShown(`fio ${engine}`)
        },
      )
    },
  )
