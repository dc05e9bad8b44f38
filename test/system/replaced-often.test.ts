/**
 * A name that means another file each time that one looks. The kernel looks again once, when it is told ESTALE; natively there is no such error on a local disk, and an open gets one of the files that the
 * name meant during the call.
 */
import fs from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Client, startClient } from '../support/client.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const SECONDS = 1

/** `outcomes(f)`: how often what came of it, for a while. `meanwhile(f)`: has a process do that again and again until `stop()`. */
const PROGRAM = `
import collections
def outcomes(f):
    counts, end = collections.Counter(), time.time() + ${SECONDS}
    while time.time() < end:
        try:
            counts[f()] += 1
        except OSError as error:
            counts[errno.errorcode[error.errno]] += 1
    return dict(counts)

def meanwhile(f):
    global child
    child = os.fork()
    if child == 0:
        while True:
            try:
                f()
            except OSError:
                pass

def stop():
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

number = 0
def replace(path):
    global number
    number += 1
    with open(path + ".new", "wb", buffering=0) as f:
        f.write(b"%09d" % number)
    os.rename(path + ".new", path)

last = 0
def read(path):
    global last
    f = os.open(path, os.O_RDONLY)
    found = int(os.read(f, 20))
    os.close(f)
    went, last = "on" if found >= last else "back", found
    return went

def truncate(path):
    os.truncate(path, 9)
    return "done"

def create(path, flags):
    f = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    owner = os.fstat(f).st_uid
    os.close(f)
    return "owned" if owner == os.getuid() else "another’s"

def come_and_go(path):
    f = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(f, b"not empty")
    os.close(f)
    os.unlink(path)

def open_each(f):
    """Children open at once what is open as f, which has no name."""
    def child():
        if (pid := os.fork()) == 0:
            try:
                os.open(f"/proc/self/fd/{f}", os.O_RDONLY)
                os._exit(0)
            finally:
                os._exit(1)
        return pid
    children = [child() for _ in range(8)]
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)`

async function withMount(use: (filesystem: LoopFilesystem, path: string, client: Client) => Promise<void>) {
  await using xfs = await loopFilesystem('xfs')
  fs.chmodSync(xfs.path, 0o777)
  await using mount = await mounted(xfs.path)
  await using client = startClient()
  await client.run(PROGRAM)
  await use(xfs, mount.path, client)
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'a name that is replaced all the time', () => {
  describe.each(['through the mount', 'below it'])('%s', (where) => {
    test.each([
      ['read', 'on'],
      ['truncate', 'done'],
    ])('is there for %s each time', (call, expected) =>
      withMount(async (xfs, path, client) => {
        fs.writeFileSync(`${xfs.path}/file`, '000000000')
        await client.run('meanwhile(lambda: replace(changed))', {
          changed: `${where === 'below it' ? xfs.path : path}/file`,
          seen: `${path}/file`,
        })
        const outcomes = await client.value<Record<string, number>>(`outcomes(lambda: ${call}(seen))`)
        await client.run('stop()')
        expect(Object.keys(outcomes)).toEqual([expected])
      }),
    )

    test.each(['0', 'os.O_TRUNC'])('is opened or made, with %s', (flags) =>
      withMount(async (xfs, path, client) => {
        await client.run('meanwhile(lambda: come_and_go(changed))', {
          changed: `${where === 'below it' ? xfs.path : path}/file`,
          seen: `${path}/file`,
        })
        const outcomes = await client.value<Record<string, number>>(`outcomes(lambda: create(seen, ${flags}))`)
        await client.run('stop()')
        // Somebody may come three times in the way.
        const { owned = 0, ESTALE = 0, ...others } = outcomes
        expect(others).toEqual({})
        expect(ESTALE).toBeLessThanOrEqual(owned / 1000)
      }),
    )
  })

  test('is not opened by who may not, who would have made it', () =>
    withMount(async (xfs, path, client) => {
      await client.run('meanwhile(lambda: come_and_go(changed))', { changed: `${xfs.path}/file` })
      await using user = startClient(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'])
      await user.run(PROGRAM)
      await user.run('seen = path', { path: `${path}/file` })
      const outcomes = await user.value<Record<string, number>>(
        'outcomes(lambda: (create(seen, os.O_TRUNC), os.unlink(seen))[0])',
      )
      await client.run('stop()')
      expect(outcomes.owned).toBeGreaterThan(0)
      expect(Object.keys(outcomes)).not.toContain('another’s')
    }))

  test('need not be there for many who open at once what one of them has open', () =>
    withMount(async (_, path, client) => {
      await client.run('f = os.open(directory, os.O_RDWR | os.O_TMPFILE, 0o600)', { directory: path })
      for (let i = 0; i < 20; i++) expect(await client.value('open_each(f)')).toBe(0)
    }))
})
