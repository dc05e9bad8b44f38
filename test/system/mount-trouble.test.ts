/**
 * What goes wrong below, beside and inside a mount: requests that hang, workers that die, devices that fail, clients that are
 * killed, descriptors that run out. A clear error or the one that the kernel would have given, no hang, and the mount lives on.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { cloneFile } from '../../src/linux/clone.ts'
import { ERRNO } from '../../src/linux/errors.ts'
import { close, O_RDONLY, O_RDWR, open } from '../../src/linux/file.ts'
import { type Client, startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, forgetCached, MEBIBYTE, noise, overwrite, PAGE, placeOf, run, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, type MountOptions, mounted } from '../support/mounted.ts'
import { PYTHON, pythonProgram } from '../support/observe.ts'
import { describeWith, findProgram, testWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'
import { smallTmpfs } from '../support/small-tmpfs.ts'

/** A directory below the source whose files are served by another program, which can be stopped: then every request for them hangs. */
class Nested implements AsyncDisposable {
  readonly directory: string
  readonly #program: ChildProcess

  static async below(filesystem: LoopFilesystem): Promise<Nested> {
    const origin = `${filesystem.directory}/origin`
    fs.mkdirSync(origin)
    for (let i = 0; i < 20; i++) fs.writeFileSync(`${origin}/slow${i}`, noise(300_000, i))
    const directory = `${filesystem.path}/nested`
    fs.mkdirSync(directory)
    const nested = new Nested(origin, directory)
    await eventually(() => expect(fs.readdirSync(directory).length).toBe(20))
    return nested
  }

  private constructor(origin: string, directory: string) {
    this.directory = directory
    this.#program = spawn(findProgram('bindfs')!, ['-f', origin, directory], { stdio: 'ignore' })
  }

  stop(): void {
    this.#program.kill('SIGSTOP')
  }

  goOn(): void {
    this.#program.kill('SIGCONT')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#program, 'exit')
    this.goOn()
    await eventually(() => run('umount', this.directory), 10_000)
    await ended
  }
}

/** Milliseconds that things take which the kernel cannot answer by itself. */
async function othersWait(client: Client, mount: Mounted): Promise<number[]> {
  return client.value(
    `[(t := time.perf_counter(), os.listdir(path), os.lstat(path + "/file%d" % i), whole(f := os.open(path + "/file%d" % i, os.O_RDONLY)),
       os.close(f), (time.perf_counter() - t) * 1000)[-1] for i in range(20)]`,
    { path: `${mount.path}/others` },
  )
}

/** Of the threads of a process. One that waits for a page to be read is in D, one that waits for requests in S. */
function threadStates(pid: number): string[] {
  return fs
    .readdirSync(`/proc/${pid}/task`)
    .map((thread) => /\) (\w) /.exec(fs.readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'))![1]!)
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

async function withNested(
  flags: Parameters<typeof mounted>[1],
  use: (nested: Nested, mount: Mounted, filesystem: LoopFilesystem) => Promise<void>,
): Promise<void> {
  await using filesystem = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
  fs.mkdirSync(`${filesystem.path}/others`)
  for (let i = 0; i < 20; i++) fs.writeFileSync(`${filesystem.path}/others/file${i}`, noise(20_000, i))
  await using nested = await Nested.below(filesystem)
  await using mount = await mounted(filesystem.path, flags)
  await use(nested, mount, filesystem)
}

describeWith(['root', 'loop', 'ext4', 'fuse', 'program:bindfs', 'program:python3'], 'requests that hang', () => {
  test('hold up nobody else, as long as there is a worker', async () => {
    const options = { flags: { cross: true, passthrough: false, timeout: 0, workers: 4 } } as const
    await withNested(options, async (nested, mount) => {
      await using others = startClient()
      const stuck = Array.from({ length: 3 }, () => startClient())
      const files = stuck.map((_, i) => `${mount.path}/nested/slow${i}`)
      await Promise.all(stuck.map((client, i) => client.run('f = os.open(path, os.O_RDONLY)', { path: files[i] })))
      const reads: Promise<string>[] = []
      const waits: number[][] = []
      const usual = median(await othersWait(others, mount))
      nested.stop()
      try {
        for (const client of stuck) {
          reads.push(client.value<string>('digest(whole(f))'))
          await sleep(50)
          waits.push(await othersWait(others, mount))
          expect((await mount.status()).workers.restarts).toBe(0)
        }
      } finally {
        nested.goOn()
      }
      // The machine may be busy with other things: most of the time, or now and then.
      for (const milliseconds of waits)
        expect(median(milliseconds), JSON.stringify({ usual, waits })).toBeLessThan(50 + 10 * usual)
      for (const [i, read] of reads.entries())
        expect(await read).toBe(
          await others.value('digest(open(path, "rb").read())', { path: `${nested.directory}/slow${i}` }),
        )
      for (const client of stuck) await client[Symbol.asyncDispose]()
      await eventually(async () => expect((await mount.status()).files.open).toBe(0))
    })
  })

  test('in all workers at once: all goes on with them, and nothing is lost', async () => {
    await withNested({ flags: { cross: true, passthrough: false, workers: 2 } }, async (nested, mount) => {
      const clients = Array.from({ length: 6 }, () => startClient())
      nested.stop()
      const reads = clients.map((client, i) =>
        client.value<number>('len(open(path, "rb").read())', { path: `${mount.path}/nested/slow${i}` }),
      )
      await sleep(300)
      nested.goOn()
      expect(await Promise.all(reads)).toEqual(clients.map(() => 300_000))
      for (const client of clients) await client[Symbol.asyncDispose]()
    })
  })

  test('for good: the mount is given up after --hang-timeout, and everybody gets an error', async () => {
    const options = { flags: { cross: true, passthrough: false, workers: 2, hangTimeout: 2 }, maySuffer: true } as const
    await withNested(options, async (nested, mount) => {
      const clients = Array.from({ length: 4 }, () => startClient())
      for (const [i, client] of clients.entries())
        await client.run('f = os.open(path, os.O_RDONLY)', { path: `${mount.path}/nested/slow${i}` })
      nested.stop()
      const began = performance.now()
      const outcomes = clients.map((client) => client.outcome('len(os.pread(f, 100000, 0))'))
      for (const outcome of await Promise.all(outcomes)) expect(['ECONNABORTED', 'ENOTCONN', 'EIO']).toContain(outcome)
      expect(performance.now() - began).toBeGreaterThan(1500)
      // Its threads end when their system calls do.
      nested.goOn()
      expect(await mount.ended).toBe(1)
      expect(mount.stderr).toContain('no request has made progress for 2 s')
      expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(mount.path)
      for (const client of clients) await client[Symbol.asyncDispose]()
    })
  })
})

describeWith(['root', 'loop', 'ext4', 'fuse', 'program:python3'], 'a connection that is aborted from outside', () => {
  test('ends the mount: open files give errors, the path shows what lies below it, the program says so', async () => {
    await using filesystem = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    fs.writeFileSync(`${filesystem.path}/file`, noise(100_000, 1))
    await using mount = await mounted(filesystem.path, { flags: { passthrough: false }, maySuffer: true })
    await using client = startClient()
    await client.run('f = os.open(path, os.O_RDONLY)', { path: `${mount.path}/file` })
    // Busy, so it stays mounted, but nobody is answered any more.
    expect(() => run('umount', '--force', mount.path)).toThrow('busy')
    expect(await client.outcome('os.pread(f, 10, 0)')).toMatch(/^(ENOTCONN|ECONNABORTED)$/)
    expect(await mount.ended).toBe(1)
    expect(mount.stderr).toContain('aborted')
    expect(fs.readdirSync(mount.path)).toEqual([])
    expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(mount.path)
  })
})

describeWith(['root', 'loop', 'ext4', 'fuse', 'program:python3'], 'a worker that dies of a request', () => {
  test('which it has received, and not begun, leaves nobody waiting', async () => {
    await using filesystem = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    fs.writeFileSync(`${filesystem.path}/file`, 'content')
    const trigger = `${filesystem.path}/die`
    const env = { NODE_OPTIONS: `--require=${pythonProgram('kill-worker.cjs')}`, KILL_RECEIVING: trigger }
    await using mount = await mounted(filesystem.path, { flags: { timeout: 0, workers: 1 }, env, maySuffer: true })
    await using client = startClient()
    const path = `${mount.path}/file`
    for (let i = 1; i <= 3; i++) {
      expect(await client.value('open(path).read()', { path })).toBe('content')
      // The close is answered after it has returned.
      await eventually(async () => expect((await mount.status()).files.open).toBe(0))
      fs.writeFileSync(trigger, '')
      expect(await client.outcome('os.stat(path)', { path })).toBe('EIO')
      expect(await client.value('open(path).read()', { path })).toBe('content')
      await eventually(async () => expect((await mount.status()).workers.restarts).toBe(i))
    }
    expect(mount.stderr).toContain('died and was replaced')
    expect(await mount.unmount()).toBe(0)
  })
})

describeWith(
  ['root', 'loop', 'ext4', 'fuse', 'program:python3'],
  'a worker that dies in the middle of a change',
  () => {
    test('has left a lock held, and others half a change: the mount is given up, and nobody waits for ever', async () => {
      await using filesystem = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
      fs.writeFileSync(`${filesystem.path}/file`, 'content')
      const trigger = `${filesystem.directory}/die`
      const env = { NODE_OPTIONS: `--require=${pythonProgram('kill-worker.cjs')}`, KILL_LOCKED: trigger }
      await using mount = await mounted(filesystem.path, { flags: { timeout: 0 }, env, maySuffer: true })
      await using client = startClient()
      const path = `${mount.path}/file`
      expect(await client.value('open(path).read()', { path })).toBe('content')
      fs.writeFileSync(trigger, '')
      expect(await client.outcome('open(path).read()', { path })).not.toBe('content')
      expect(await Promise.race([mount.ended, sleep(10_000, 'hangs', { ref: false })])).toBe(1)
      expect(mount.stderr).toMatch(/worker \d, in the middle of a change, died: the mount is given up/)
      expect(await client.value('os.listdir(path)', { path: mount.path })).toEqual([])
    })
  },
)

describeWith(['root', 'loop', 'ext4', 'fuse', 'program:bindfs', 'program:python3'], 'workers that die', () => {
  test('owe nobody an answer: who waits gets EIO, the next request is served', async () => {
    const env = { NODE_OPTIONS: `--require=${pythonProgram('kill-worker.cjs')}` }
    const options = { flags: { cross: true, passthrough: false, workers: 3 }, env, maySuffer: true } as const
    await withNested(options, async (nested, mount) => {
      await using client = startClient()
      await using other = startClient()
      await client.run('f = os.open(path, os.O_RDONLY)', { path: `${mount.path}/nested/slow1` })
      const { pid } = await mount.status()
      nested.stop()
      const read = client.outcome('len(os.pread(f, 100000, 0))')
      await eventually(() => expect(threadStates(pid)).toContain('D'))
      process.kill(pid, 'SIGUSR2')
      // Who was parked is replaced; who waits for requests in the kernel, if one does already, ends with the next; the one in the request when its system call does.
      await eventually(async () => expect((await mount.status()).workers.restarts).toBeGreaterThanOrEqual(1))
      const path = `${mount.path}/others/file1`
      expect(await other.value('len(open(path, "rb").read())', { path })).toBe(20_000)
      nested.goOn()
      expect(await read).toBe('EIO')
      expect(await client.value('len(os.pread(f, 100000, 0))')).toBe(100_000)
      await eventually(async () => expect((await mount.status()).workers.restarts).toBe(3))
      expect(mount.stderr).toContain('died and was replaced')
      await client.run('os.close(f)')
      await eventually(async () => expect((await mount.status()).files.open).toBe(0))
      expect((await othersWait(other, mount)).length).toBe(20)
      expect(await mount.unmount()).toBe(0)
    })
  })
})

describeWith(['root', 'loop', 'ext4', 'fuse', 'program:python3'], 'other threads that die', () => {
  async function withKilled(thread: string, use: (mount: Mounted, client: Client) => Promise<void>): Promise<void> {
    await using filesystem = await loopFilesystem('ext4', { size: 64 * MEBIBYTE })
    fs.writeFileSync(`${filesystem.path}/file`, 'content')
    const env = { NODE_OPTIONS: `--require=${pythonProgram('kill-worker.cjs')}`, KILL_THREADS: thread }
    await using mount = await mounted(filesystem.path, { flags: { timeout: 0 }, env, maySuffer: true })
    await using client = startClient()
    await client.run('f = os.open(path, os.O_RDONLY)', { path: `${mount.path}/file` })
    process.kill((await mount.status()).pid, 'SIGUSR2')
    await use(mount, client)
  }

  for (const [thread, said] of [
    ['main', 'the mount is given up: Error: killed'],
    ['samepage-notifier', 'the notifier died: the mount is given up'],
  ] as const)
    test(`${thread}: nobody can do what it did, so the mount is given up, and nobody waits for ever`, async () => {
      await withKilled(thread, async (mount, client) => {
        expect(await Promise.race([mount.ended, sleep(10_000, 'hangs', { ref: false })])).toBe(1)
        expect(mount.stderr).toContain(said)
        expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(mount.path)
        expect(await client.value('os.listdir(path)', { path: mount.path })).toEqual([])
      })
    })

  test('the monitor is replaced: more workers are called in as before', async () => {
    await withKilled('samepage-monitor', async (mount, client) => {
      await eventually(async () => expect((await mount.status()).workers.restarts).toBe(1))
      expect(mount.stderr).toContain('the monitor died and was replaced')
      expect(await client.value('open(path).read()', { path: `${mount.path}/file` })).toBe('content')
      await client.run('os.close(f)')
      expect(await mount.unmount()).toBe(0)
    })
  })
})

/** How the device fails: XFS loses its end, btrfs finds other bytes than it wrote. `page` is what lies there. */
const FAIL = {
  xfs: (image: string, page: Buffer) => fs.truncateSync(image, placeOf(image, page)),
  btrfs: (image: string, page: Buffer) => overwrite(image, placeOf(image, page), Buffer.alloc(2 * MEBIBYTE)),
}
const DEVICE_BYTES = 2 ** 30

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', 'program:python3', kind], `a device that fails, below ${kind}`, () => {
    for (const passthrough of [true, false])
      test(`gives EIO where it fails, only there, ${passthrough ? 'with passthrough' : 'through the daemon'}`, async () => {
        await using filesystem = await loopFilesystem(kind, { size: DEVICE_BYTES })
        const at = (name: string) => `${filesystem.path}/${name}`
        writeSynced(at('small'), noise(50_000, 1))
        // XFS: into the last quarter, behind the log and what it needs of the others.
        if (kind === 'xfs') run('fallocate', '-l', '760M', at('filler'))
        const original = noise(8 * MEBIBYTE, 2)
        writeSynced(at('original'), original)
        clone(at('original'), at('pristine'))
        clone(at('original'), at('diverged'))
        overwrite(at('diverged'), MEBIBYTE, noise(PAGE, 4))
        run('sync', '-f', filesystem.path)
        await settle()
        await using mount = await mounted(filesystem.path, passthrough ? {} : { flags: { passthrough: false } })
        await using client = startClient()
        await client.run('opened = {}')
        const names = ['original', 'pristine', 'diverged']
        for (const name of names)
          await client.run('opened[name] = os.open(path, os.O_RDONLY)', { name, path: `${mount.path}/${name}` })
        const small = { path: `${mount.path}/small`, below: at('small') }
        const reads = 'digest(open(path, "rb").read()) == digest(open(below, "rb").read())'
        expect(await client.value(reads, small)).toBe(true)
        run('sync', '-f', filesystem.path)
        for (const name of names) forgetCached(at(name))

        const lost = 6 * MEBIBYTE
        FAIL[kind](filesystem.image, original.subarray(lost, lost + PAGE))
        for (const name of names) {
          const offset = lost + 4 * PAGE
          expect(await client.outcome('len(os.pread(opened[name], 65536, offset))', { name, offset }), name).toBe('EIO')
          // Of a mapping, the signal that it would be natively.
          await client.run(
            `if (pid := os.fork()) == 0:
                mmap.mmap(opened[name], 0, prot=mmap.PROT_READ)[offset]
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])`.replaceAll('\n            ', '\n'),
            { name, offset },
          )
          expect(await client.value('-status == signal.SIGBUS'), name).toBe(true)
          expect(await client.value('len(os.pread(opened[name], 65536, 0))', { name }), name).toBe(65_536)
        }
        expect(await client.value('sorted(os.listdir(path))', { path: mount.path })).toEqual(
          fs.readdirSync(filesystem.path).sort(),
        )
        expect(await client.value(reads, small)).toBe(true)
        await client.run('[os.close(f) for f in opened.values()]')
        await eventually(async () => expect((await mount.status()).files.open).toBe(0))
        // Whole again, so that it can be unmounted in order.
        if (kind === 'xfs') fs.truncateSync(filesystem.image, DEVICE_BYTES)
      })
  })

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'clients that are killed', () => {
  test('at any moment leave nothing open, no descriptor, and nobody waiting', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const names = ['private', 'original', 'pristine', 'diverged']
    const at = (name: string) => `${filesystem.path}/${name}`
    writeSynced(at('private'), noise(MEBIBYTE, 1))
    writeSynced(at('original'), noise(4 * MEBIBYTE, 2))
    clone(at('original'), at('pristine'))
    clone(at('original'), at('diverged'))
    overwrite(at('diverged'), 50 * PAGE, noise(PAGE, 3))
    await settle()
    for (const passthrough of [true, false]) {
      await using mount = await mounted(filesystem.path, {
        flags: { timeout: 0, minShare: '64K', ...(passthrough ? {} : { passthrough: false }) },
      })
      for (const name of names)
        expect(fs.readFileSync(`${mount.path}/${name}`).equals(fs.readFileSync(at(name)))).toBe(true)
      await eventually(async () => expect((await mount.status()).files.open).toBe(0))
      const { pid } = await mount.status()
      const descriptors = () => fs.readdirSync(`/proc/${pid}/fd`).length
      const before = descriptors()
      const load = `
import mmap, os, random, sys
paths = sys.argv[1:]
while True:
    f = os.open(random.choice(paths), os.O_RDONLY)
    g = os.open(os.path.dirname(paths[0]), os.O_RDONLY)
    os.listdir(g)
    os.pread(f, 1 << 20, random.randrange(1 << 20))
    mmap.mmap(f, 0, prot=mmap.PROT_READ)[random.randrange(1 << 20)]
    os.fstat(f)
    if random.random() < 0.9: os.close(f)
    os.close(g)`
      const signals = ['SIGKILL', 'SIGINT', 'SIGTERM'] as const
      for (let round = 0; round < 12; round++) {
        const victims = Array.from({ length: 4 }, () =>
          spawn(PYTHON, ['-c', load, ...names.map((name) => `${mount.path}/${name}`)], { stdio: 'ignore' }),
        )
        const ended = victims.map((victim) => once(victim, 'exit'))
        await sleep(80 + round * 17)
        for (const victim of victims) victim.kill(signals[round % 3])
        await Promise.all(ended)
      }
      await eventually(async () => {
        const { files, homes } = await mount.status()
        expect(files.open).toBe(0)
        expect(homes.inUse).toBe(0)
      })
      // A few for what it keeps at hand: descriptors of directories, pipes.
      expect(descriptors()).toBeLessThanOrEqual(before + 4)
    }
  })
})

/** FICLONE into a file that exists: 0 or -errno. */
function cloneInto(target: string, source: string): number {
  const [from, to] = [open(source, O_RDONLY), open(target, O_RDWR)]
  const result = cloneFile(to, from)
  for (const fd of [from, to]) close(fd)
  return result
}

describeWith(['root', 'loop', 'xfs', 'fuse'], 'a file system that is full', () => {
  test('gets idle homes back, files are served all the same, and share again when there is room', async () => {
    await using xfs = await loopFilesystem('xfs', { size: 320 * MEBIBYTE })
    const at = (name: string) => `${xfs.path}/${name}`
    writeSynced(at('small'), noise(4 * MEBIBYTE, 1))
    for (const name of ['scattered', 'late']) fs.writeFileSync(at(name), '')
    clone(at('small'), at('small-clone'))
    // Each clone of it takes blocks for its 4,000 extents.
    const fd = fs.openSync(at('scattered'), 'r+')
    for (let i = 0; i < 4000; i++) fs.writeSync(fd, noise(PAGE, i), 0, PAGE, 2 * i * PAGE)
    fs.closeSync(fd)
    for (const name of ['scattered-clone', 'late']) clone(at('scattered'), at(name))
    run('sync', '-f', xfs.path)
    await settle()
    await using mount = await mounted(xfs.path)
    const isSame = (name: string) => fs.readFileSync(`${mount.path}/${name}`).equals(fs.readFileSync(at(name)))
    for (const name of ['small', 'small-clone']) expect(isSame(name)).toBe(true)
    expect((await mount.status()).homes).toMatchObject({ homes: 1, homesDropped: 0 })

    // What the file system keeps for itself is used up by clones too; a failed one keeps what it has got so far.
    const fillers = Array.from({ length: 2000 }, (_, i) => at(`filler${i}`))
    for (const filler of fillers) fs.writeFileSync(filler, '')
    expect(() => fs.writeFileSync(at('filler'), Buffer.alloc(320 * MEBIBYTE, 1))).toThrow('ENOSPC')
    const results = fillers.map((filler) => cloneInto(filler, at('scattered')))
    expect(results.filter((result) => result === -ERRNO.ENOSPC).length, 'the disk is not full').toBeGreaterThan(100)
    for (const name of ['scattered', 'scattered-clone']) expect(isSame(name), name).toBe(true)
    const full = (await mount.status()).homes
    expect(full).toMatchObject({ homesDropped: 1, dropFailures: 0 })
    expect(full.private['no space'], JSON.stringify(full)).toBeGreaterThan(0)

    for (const name of fs.readdirSync(xfs.path)) if (name.startsWith('filler')) fs.unlinkSync(at(name))
    run('sync', '-f', xfs.path)
    for (const name of ['late', 'small', 'small-clone']) expect(isSame(name), name).toBe(true)
    expect((await mount.status()).homes).toMatchObject({ homes: 2, homesMade: 3 })
  })
})

describeWith(['root', 'loop', 'ext4', 'xfs', 'fuse', 'program:python3'], 'a device that takes no more', () => {
  const FILESYSTEMS = {
    ext4: { mkfs: ['-O', '^has_journal', '-E', 'lazy_itable_init=0,nodiscard'] },
    // What is tried again where there is no space is not what tells that by itself.
    xfs: { mkfs: ['-K'] },
  } as const
  const WAYS = { 'with passthrough': {}, 'through the daemon': { passthrough: false } } as const

  test.each([
    ['ext4', 'with passthrough'],
    ['ext4', 'through the daemon'],
    ['xfs', 'with passthrough'],
    ['xfs', 'through the daemon'],
  ] as const)('is told of by fsync to each who had the file open for writing: %s, %s', async (kind, way) => {
    expect(await fsyncs(kind, WAYS[way])).toEqual(await fsyncs(kind))
  })

  /** What three calls by two descriptors say, and one by a third that comes later; natively, or through a mount with `flags`. */
  async function fsyncs(kind: keyof typeof FILESYSTEMS, flags?: MountOptions['flags']): Promise<unknown[]> {
    const { mkfs } = FILESYSTEMS[kind]
    await using small = await smallTmpfs(120 * MEBIBYTE)
    await using filesystem = await small.inThere(() => loopFilesystem(kind, { size: 300 * MEBIBYTE, mkfs: [...mkfs] }))
    await using mount = flags === undefined ? undefined : await mounted(filesystem.path, { flags })
    await using client = startClient()
    const sync = (descriptor: string) => client.outcome(`os.fsync(${descriptor})`)
    await client.run('a = os.open(path, os.O_RDWR | os.O_CREAT)', {
      path: `${(mount ?? filesystem).path}/file`,
    })
    await client.run('os.posix_fallocate(a, 0, 32 << 20)')
    expect(await sync('a')).toBeNull()
    await client.run('b = os.open(path, os.O_WRONLY)')
    // What the file system itself has to write is written now.
    for (const step of ['--freeze', '--unfreeze']) run('fsfreeze', step, filesystem.path)
    small.fill()
    await client.run('os.pwrite(b, os.urandom(4 << 20), 8 << 20)')
    const outcomes = [await sync('b'), await sync('a'), await sync('b')]
    expect(outcomes.slice(0, 2)).toEqual([expect.any(String), expect.any(String)])
    // Who comes later hears of nothing.
    await client.run('c = os.open(path, os.O_RDWR)')
    outcomes.push(await sync('c'))
    await client.run('[os.close(f) for f in (a, b, c)]')
    return outcomes
  }
})

describeWith(['root', 'loop', 'xfs', 'fuse'], 'more inodes than there is room for', () => {
  const COUNT = 4300

  test('are refused while the others are in use; nothing is made that cannot be shown', async () => {
    await using filesystem = await loopFilesystem('xfs')
    for (let i = 0; i < COUNT; i++) fs.writeFileSync(`${filesystem.path}/file${i}`, '')
    const env = { NODE_OPTIONS: `--require=${pythonProgram('few-inodes.cjs')}` }
    await using mount = await mounted(filesystem.path, { env })
    const through = (name: string) => `${mount.path}/${name}`
    let known = 0
    expect(() => {
      for (; known < COUNT; known++) fs.statSync(through(`file${known}`))
    }).toThrow('ENFILE')
    expect(known).toBe(4095)
    expect(() => fs.mkdirSync(through('directory'))).toThrow('ENFILE')
    expect(() => fs.symlinkSync('target', through('symlink'))).toThrow('ENFILE')
    expect(() => fs.writeFileSync(through('new'), '')).toThrow('ENFILE')
    expect(fs.readdirSync(filesystem.path).filter((name) => !name.startsWith('file'))).toEqual([])
    // Those that are known stay so.
    expect(fs.readFileSync(through('file7'), 'utf8')).toBe('')
  })

  testWith(['linux:6.18'], 'have room when the kernel has been asked to forget some', async () => {
    await using filesystem = await loopFilesystem('xfs')
    fs.mkdirSync(`${filesystem.path}/directory`)
    for (let i = 0; i < COUNT; i++) fs.writeFileSync(`${filesystem.path}/directory/file${i}`, String(i))
    const env = { NODE_OPTIONS: `--require=${pythonProgram('few-inodes.cjs')}` }
    await using mount = await mounted(filesystem.path, { env })
    const through = (i: number) => `${mount.path}/directory/file${i}`
    const open = fs.openSync(through(0), 'r')
    const { ino } = fs.fstatSync(open)
    for (let i = 0; i < COUNT; i++)
      await eventually(() => expect(fs.statSync(through(i)).size).toBe(String(i).length), 20_000)
    fs.writeFileSync(through(COUNT), 'new')
    expect([fs.fstatSync(open).ino, fs.readFileSync(open, 'utf8')]).toEqual([ino, '0'])
    expect(fs.statSync(through(0)).ino).toBe(ino)
    fs.closeSync(open)
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3', 'program:prlimit'], 'few descriptors', () => {
  test('are no limit to the files that are open for writing, where they are passed through', async () => {
    await using filesystem = await loopFilesystem('xfs')
    await using mount = await mounted(filesystem.path, {
      flags: { workers: 3 },
      wrapper: [findProgram('prlimit')!, '--nofile=400:400'],
    })
    await using client = startClient()
    await client.run('fs = [os.open(f"{path}/{i}", os.O_RDWR | os.O_CREAT) for i in range(900)]', { path: mount.path })
    await client.run('[os.pwrite(f, b"x", 0) for f in fs]; [os.fsync(f) for f in fs]')
    await client.run('more = [os.open(f"{path}/{i}", os.O_RDWR) for i in range(900)]; [os.close(f) for f in fs + more]')
    await eventually(async () => expect((await mount.status()).files.open).toBe(0))
  })

  test('are left to others by who takes any number of locks', async () => {
    await using filesystem = await loopFilesystem('xfs')
    fs.writeFileSync(`${filesystem.path}/locked`, 'x')
    fs.writeFileSync(`${filesystem.path}/other`, 'y')
    fs.mkdirSync(`${filesystem.path}/directory`)
    await using mount = await mounted(filesystem.path, {
      flags: { workers: 3 },
      wrapper: [findProgram('prlimit')!, '--nofile=400:400'],
    })
    await using client = startClient()
    await using below = startClient()
    const [path, source] = [mount.path, filesystem.path]
    await client.run('fs = [os.open(path + "/locked", os.O_RDONLY) for i in range(800)]', { path })
    await client.run('[fcntl.flock(f, fcntl.LOCK_SH) for f in fs]')
    await using others = startClient()
    expect(await others.value('open(path + "/other").read()', { path })).toBe('y')
    expect(await others.value('os.listdir(path + "/directory")', { path })).toEqual([])
    await others.run('os.mkdir(path + "/directory/new")', { path })
    expect(await descriptorsOf(mount)).toBeLessThan(300)
    // The locks hold all the same: below by the first of them, in the mount by each.
    const exclude = 'fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)'
    expect(await below.outcome(exclude, { path: `${source}/locked` })).toBe('EAGAIN')
    await client.run('[os.close(f) for f in fs[:799]]')
    await eventually(async () => expect(await descriptorsOf(mount)).toBeLessThan(200))
    expect(await others.outcome(exclude, { path: `${path}/locked` })).toBe('EAGAIN')
  })

  test('where none is left, status answers, and clients are not told that they have too many files open themselves', async () => {
    await using filesystem = await loopFilesystem('xfs')
    fs.writeFileSync(`${filesystem.path}/file`, 'x')
    await using mount = await mounted(filesystem.path, { flags: { passthrough: false, workers: 1 } })
    const { pid } = await mount.status()
    // Threads that start open their programs.
    await sleep(1000)
    const used = new Set(fs.readdirSync(`/proc/${pid}/fd`).map(Number))
    const free = Array.from({ length: used.size + 2 }, (_, fd) => fd).filter((fd) => !used.has(fd))
    const limit = (descriptors: number) => run('prlimit', '--pid', `${pid}`, `--nofile=${descriptors}:`)
    await using client = startClient()
    const outcome = () => client.outcome('open(path + "/file").read()', { path: mount.path })
    limit(free[0]!)
    expect(await outcome()).toBe('ENFILE')
    // One for the connection.
    limit(free[0]! + 1)
    expect((await mount.status()).memory.residentBytes).toBeGreaterThan(MEBIBYTE)
  })

  test('are enough for any number of directories, and open files get an error when they run out', async () => {
    await using filesystem = await loopFilesystem('xfs')
    for (let i = 0; i < 1500; i++) {
      fs.mkdirSync(`${filesystem.path}/directory${i}`)
      fs.writeFileSync(`${filesystem.path}/directory${i}/file`, `${i}`)
    }
    await using mount = await mounted(filesystem.path, {
      flags: { passthrough: false, workers: 3 },
      wrapper: [findProgram('prlimit')!, '--nofile=400:400'],
    })
    await using client = startClient()
    const path = mount.path
    // Every look-up in a directory keeps a descriptor of it for the next.
    expect(
      await client.value('sum(int(open(path + "/directory%d/file" % i).read()) == i for i in range(1500))', { path }),
    ).toBe(1500)
    const outcome = await client.outcome(
      '[len([os.open(path + "/directory%d/file" % i, os.O_RDONLY) for i in range(1000)])]',
      { path },
    )
    expect(outcome).toBe('ENFILE')
    expect(await client.outcome('os.open(path + "/new", os.O_WRONLY | os.O_CREAT)', { path })).toBe('ENFILE')
    // Who has files open can go on.
    expect((await mount.status()).files.open).toBeGreaterThan(300)
    expect(await client.value('os.stat(path + "/directory999/file").st_size', { path })).toBe(3)
    // The list was dropped, its descriptors were not.
    await client.run('[os.close(f) for f in range(3, 900) if os.path.exists("/proc/self/fd/%d" % f)]')
    await eventually(async () => expect((await mount.status()).files.open).toBe(0))
    expect(await client.value('open(path + "/directory1499/file").read()', { path })).toBe('1499')

    // Open directories leave as many to others as open files do.
    const directories = await client.outcome(
      '[len([os.open(path + "/directory%d" % i, os.O_RDONLY | os.O_DIRECTORY) for i in range(1000)])]',
      { path },
    )
    expect(directories).toBe('ENFILE')
    expect(await client.value('os.stat(path + "/directory998/file").st_size', { path })).toBe(3)
    expect(await client.value('len(os.listxattr(path + "/directory997/file"))', { path })).toBe(0)
    expect(await client.value('os.statvfs(path).f_bsize', { path })).toBeGreaterThan(0)
  })
})

async function descriptorsOf(mount: Mounted): Promise<number> {
  return fs.readdirSync(`/proc/${(await mount.status()).pid}/fd`).length
}
