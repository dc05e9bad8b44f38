/** Leases on files of the source (F_SETLEASE): who opens such a file through the mount waits for it as natively, and keeps nobody else waiting. */
import fs from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const USER = 65_534
const AS_USER = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups']
const WORKERS = 2
const FILES = WORKERS + 3
/** Far less than a lease may last that its holder does not give back (lease-break-time, 45 s). */
const AT_ONCE_MS = 3000

/** Takes leases on the files below, which the user owns: of the kind that whoever wants to write, or to open at all, has to wait for. */
async function holder(directory: string, kind: 'F_RDLCK' | 'F_WRLCK'): Promise<Client> {
  const client = startClient(AS_USER)
  await client.run('signal.signal(signal.SIGIO, signal.SIG_IGN)')
  const open = kind === 'F_RDLCK' ? 'os.O_RDONLY' : 'os.O_RDWR'
  await client.run(
    `held = [os.open(f"{directory}/{i}", ${open}) for i in range(${FILES})]; [fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.${kind}) for f in held]`,
    { directory },
  )
  return client
}

/** The mount answers, also who opens for writing. */
async function expectLively(mount: Mounted): Promise<void> {
  await using other = startClient()
  const started = performance.now()
  await other.run('os.listdir(path); open(path + "/other", "w").write("x"); os.stat(path + "/0")', { path: mount.path })
  expect(performance.now() - started).toBeLessThan(AT_ONCE_MS)
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'leases below', () => {
  test.each([
    ['F_RDLCK', 'with passthrough', {}],
    ['F_RDLCK', 'through the daemon', { passthrough: false as const }],
    ['F_WRLCK', 'with passthrough', {}],
  ] as const)('%s: hold up who opens the file, and nobody else: %s', async (kind, _, flags) => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/original`, noise(16 * MEBIBYTE, 1))
    for (let i = 0; i < FILES; i++) {
      // Some are written through the daemon, and decided on by the keeper.
      if (i % 2 === 0) clone(`${xfs.path}/original`, `${xfs.path}/${i}`)
      else fs.writeFileSync(`${xfs.path}/${i}`, 'small')
      fs.chownSync(`${xfs.path}/${i}`, USER, USER)
    }
    await settle()
    await using mount = await mounted(xfs.path, { flags: { ...flags, workers: WORKERS } })
    await using held = await holder(xfs.path, kind)
    const access = kind === 'F_RDLCK' ? 'os.O_WRONLY' : 'os.O_RDONLY'
    await using impatient = startClient()
    expect(await impatient.outcome(`os.open(path + "/0", ${access} | os.O_NONBLOCK)`, { path: mount.path })).toBe(
      'EAGAIN',
    )

    const openers = Array.from({ length: FILES }, () => startClient(AS_USER))
    let opened = 0
    const opens = openers.map((client, i) =>
      // The last two: cut by name, and one that is killed.
      client
        .run(i === FILES - 2 ? 'os.truncate(path, 3)' : `f = os.open(path, ${access})`, { path: `${mount.path}/${i}` })
        .then(() => opened++),
    )
    await sleep(300)
    await expectLively(mount)
    expect(opened).toBe(0)
    const killed = expect(opens[FILES - 1]).rejects.toThrow('gone')
    openers[FILES - 1]!.kill('SIGKILL')
    await killed
    await held.run('[os.close(f) for f in held]')
    await Promise.all(opens.slice(0, -1))
    expect(fs.statSync(`${xfs.path}/${FILES - 2}`).size).toBe(3)
    if (kind === 'F_RDLCK') {
      await openers[0]!.run('os.pwrite(f, b"written", 0)')
      expect(fs.readFileSync(`${xfs.path}/0`).subarray(0, 7).toString()).toBe('written')
    }
    for (const client of openers) await client[Symbol.asyncDispose]()
    await eventually(async () => expect((await mount.status()).files.open).toBe(0))
  })
})
