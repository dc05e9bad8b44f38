/**
 * Locks through a mount that can be written to: what programs are told natively, also between those who opened a file before and after it got
 * another nodeid, and between the mount and those who use the source.
 */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openedClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

const SIZE = 16 * MEBIBYTE

const RANGE = {
  share: 'fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB, 100, 5000)',
  exclude: 'fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 5050)',
  free: 'fcntl.lockf(f, fcntl.LOCK_UN)',
}
const WHOLE = {
  share: 'fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)',
  exclude: 'fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)',
  free: 'fcntl.flock(f, fcntl.LOCK_UN)',
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'locks', () => {
  test('programs are told what they are told natively', async () => {
    await using xfs = await loopFilesystem('xfs')
    for (const directory of ['source', 'twin']) fs.mkdirSync(`${xfs.path}/${directory}`)
    await using mount = await mounted(`${xfs.path}/source`)
    const natively: unknown = JSON.parse(runPython(USERS[0]!, 'locks.py', `${xfs.path}/twin`))
    expect(JSON.parse(runPython(USERS[0]!, 'locks.py', mount.path))).toEqual(natively)
  })

  for (const [kind, calls] of [
    ['fcntl', RANGE],
    ['flock', WHOLE],
  ] as const) {
    test(`${kind}: before and after a file gets another nodeid`, async () => {
      await using xfs = await loopFilesystem('xfs')
      writeSynced(`${xfs.path}/original`, noise(SIZE, 1))
      clone(`${xfs.path}/original`, `${xfs.path}/clone`)
      await using mount = await mounted(xfs.path)
      const path = `${mount.path}/clone`
      await using reader = await openedClient(path, 'O_RDONLY')
      expect((await mount.status()).files.pristine).toBe(1)
      await reader.run(calls.share)
      await using writer = await openedClient(path, 'O_RDWR')
      // Two nodeids: the reader has the home that he opened, the writer the file itself.
      expect((await mount.status()).files).toMatchObject({ pristine: 1, mapped: 1 })
      await expect(writer.run(calls.exclude)).rejects.toThrow('EAGAIN')
      await writer.run(calls.share)
      await reader.run(calls.free)
      await writer.run(calls.exclude)
      await expect(reader.run(calls.share)).rejects.toThrow('EAGAIN')
      await writer.run('os.close(f)')
      await reader.run(calls.share)
    })

    test(`${kind}: through the mount and in the source`, async () => {
      await using xfs = await loopFilesystem('xfs')
      writeSynced(`${xfs.path}/file`, noise(MEBIBYTE, 1))
      await using mount = await mounted(xfs.path)
      await using below = await openedClient(`${xfs.path}/file`, 'O_RDWR')
      await using above = await openedClient(`${mount.path}/file`, 'O_RDWR')
      await below.run(calls.exclude)
      await expect(above.run(calls.share)).rejects.toThrow('EAGAIN')
      // Waits, and nobody tells the mount when the time has come.
      const waiting = above.run(calls.share.replace(' | fcntl.LOCK_NB', ''))
      await below.run(calls.free)
      await waiting
      await below.run(calls.share)
      await expect(below.run(calls.exclude)).rejects.toThrow('EAGAIN')
      // The first exclusive lock after shared ones, for which the mount needs another descriptor.
      await below.run(calls.free)
      await above.run(calls.exclude)
      await expect(below.run(calls.share)).rejects.toThrow('EAGAIN')
      await above.run('os.close(f)')
      await eventually(() => below.run(calls.exclude))
    })
  }

  test('whoever waits below for shared locks does not get them when their owner locks something else exclusively', async () => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/file`, noise(MEBIBYTE, 1))
    await using mount = await mounted(xfs.path)
    await using above = await openedClient(`${mount.path}/file`)
    await using below = await openedClient(`${xfs.path}/file`)
    for (let attempt = 0; attempt < 10; attempt++) {
      await above.run('fcntl.lockf(f, fcntl.LOCK_SH, 10, 0)')
      let isGiven = false
      const waiting = below.run('fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)').then(() => {
        isGiven = true
      })
      await sleep(50)
      await above.run('fcntl.lockf(f, fcntl.LOCK_EX, 10, 100)')
      await sleep(50)
      expect(isGiven).toBe(false)
      await above.run('fcntl.lockf(f, fcntl.LOCK_UN)')
      await waiting
      await below.run('fcntl.lockf(f, fcntl.LOCK_UN)')
    }
  })
})
