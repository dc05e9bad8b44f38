/** The keeper of files, with homes of the test's own: each file lies in one, and reads and writes end as the test wants. */
import fs from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import type { Homes, NamedFile } from '../../../src/library/homes.ts'
import { Keeping } from '../../../src/library/keeping.ts'
import { linuxNative } from '../../../src/library/linux-native.ts'
import type { Native } from '../../../src/library/native.ts'
import { MEBIBYTE, noise, PAGE } from '../../support/files.ts'
import { scratchFiles } from '../../support/scratch-files.ts'
import { settle } from '../../support/settled.ts'

/** In place of what promisify(fs.read) and its like give, from before the library is imported on. */
const calls = await vi.hoisted(async () => {
  const { default: fs } = await import('node:fs')
  const { promisify } = await import('node:util')
  type Call = (fd: number, ...rest: unknown[]) => Promise<unknown>
  const calls = {
    /** Asked before a file of that inode number is read, or written. */
    beforeRead: async (_ino: number): Promise<void> => {},
    beforeWrite: async (_ino: number): Promise<void> => {},
  }
  const replace = (name: 'read' | 'readv' | 'write' | 'writev', before: 'beforeRead' | 'beforeWrite') => {
    const call = promisify(fs[name]) as Call
    const custom: Call = async (fd, ...rest) => {
      await calls[before](fs.fstatSync(fd).ino)
      return await call(fd, ...rest)
    }
    Object.defineProperty(fs[name], promisify.custom, { value: custom })
  }
  for (const name of ['read', 'readv'] as const) replace(name, 'beforeRead')
  for (const name of ['write', 'writev'] as const) replace(name, 'beforeWrite')
  return calls
})

const nothing = async (): Promise<void> => {}
afterEach(() => {
  calls.beforeRead = calls.beforeWrite = nothing
})

const fileOf = scratchFiles()

/** A home for each file that is asked about: itself. */
class TestHomes {
  /** By the home's number. */
  readonly users: number[] = []
  /** Called where space is wanted. */
  onDropUnused = (): void => {}
  readonly #fds: number[] = []

  async serve(file: NamedFile): Promise<unknown> {
    const fd = fs.openSync(file.path, 'r')
    const { ctimeNs, size } = fs.fstatSync(fd, { bigint: true })
    const number = this.#fds.push(fd) - 1
    const stamp = {
      ctimeSec: Number(ctimeNs / 1_000_000_000n),
      ctimeNsec: Number(ctimeNs % 1_000_000_000n),
      size: Number(size),
    }
    const home = { number, size: stamp.size, file: { fd } }
    return { kind: 'pristine', home, stamp, remember: true, recheckAtMs: Number.POSITIVE_INFINITY }
  }

  hold(number: number): void {
    this.users[number] = (this.users[number] ?? 0) + 1
  }

  release(number: number): void {
    this.users[number]!--
  }

  get used(): number {
    return this.users.filter((users) => users > 0).length
  }

  async dropUnused(): Promise<void> {
    this.onDropUnused()
  }

  async close(): Promise<void> {
    for (const fd of this.#fds) fs.closeSync(fd)
  }
}

async function withKeeper(
  run: (keeping: Keeping, homes: TestHomes) => Promise<void>,
  calls: Partial<Native> = {},
): Promise<void> {
  const homes = new TestHomes()
  const native: Native = { ...linuxNative, createHomes: () => homes as unknown as Homes, ...calls }
  const keeping = new Keeping(4 * MEBIBYTE, { memory: 4 * MEBIBYTE, yieldUnderPressure: false }, native)
  try {
    await run(keeping, homes)
    keeping.checkInvariants()
  } finally {
    await keeping.close()
  }
}

const noSpace = () => Object.assign(new Error('no space'), { code: 'ENOSPC' })

test.each(['itself', 'a home'])(
  'who finds no space waits for no read, of a file served by %s, for ever',
  async (by) => {
    await withKeeper(async ({ files }, homes) => {
      const [gone, full] = [fileOf(noise(4 * PAGE, 1)), fileOf(noise(PAGE, 2))]
      if (by === 'a home') await settle()
      else homes.serve = () => Promise.reject(new Error('nothing is shared'))
      const lost = await files.open(gone, false, 0)
      const inode = await files.open(full, true, 0)
      expect(lost.homes.length).toBe(by === 'a home' ? 1 : 0)
      let end!: () => void
      const ended = new Promise<void>((resolve) => (end = resolve))
      const { ino } = fs.statSync(gone)
      calls.beforeRead = (read) => (read === ino ? ended : nothing())
      calls.beforeWrite = () => Promise.reject(noSpace())
      const load = files.load(lost, 0, 4, 4, 0, true)
      try {
        let tries = 0
        homes.onDropUnused = () => tries++
        await expect(files.writer.write(inode, noise(PAGE, 3), 0)).rejects.toMatchObject({ code: 'ENOSPC' })
        expect(tries).toBeGreaterThan(0)
      } finally {
        end()
        await load
        files.close(lost)
        files.close(inode, true)
      }
    })
  },
)

test('a write that finds no space waits for what is read ahead of a closed file, whose home it uses', async () => {
  await withKeeper(async ({ files }, homes) => {
    const [closed, full] = [fileOf(noise(4 * PAGE, 1)), fileOf(noise(PAGE, 2))]
    await settle()
    const inode = await files.open(full, true, 0)
    const source = await files.open(closed, false, 0)
    const [home] = source.homes
    const { ino } = fs.statSync(closed)
    calls.beforeRead = async (read) => void (read === ino && (await delay(100)))
    const ahead = files.load(source, 0, 4, 0, 0, false)
    files.close(source)
    let isFull = true
    calls.beforeWrite = () => (isFull ? Promise.reject(noSpace()) : nothing())
    homes.onDropUnused = () => {
      isFull = homes.users[home!]! > 0
    }
    await files.writer.write(inode, noise(PAGE, 3), 0)
    await ahead
    files.close(inode, true)
  })
})

test('of files that are closed before it is decided how they are served, too, 1,024 have homes', async () => {
  await withKeeper(async ({ files }, homes) => {
    const paths = Array.from({ length: 1030 }, () => fileOf(Buffer.from('x')))
    await settle()
    const inodes = paths.map((path) => {
      const inode = files.openSync(path, false, 0)
      files.close(inode)
      return inode
    })
    for (const inode of inodes) await inode.deciding
    expect(homes.used).toBe(1024)
    // Who has been closed last keeps them.
    expect(homes.users.slice(-1024)).toEqual(new Array(1024).fill(1))
  })
})

test('a home gets the mapping of a file that nobody has open, but not that of its own', async () => {
  await withKeeper(async ({ files, pages }, homes) => {
    const paths = Array.from({ length: 5 }, () => fileOf(Buffer.from('x')))
    await settle()
    const [first, second, ...idle] = paths as [string, string, ...string[]]
    for (const path of idle) files.close(await files.open(path, false, 0))
    while (pages.mappings.create() >= 0);
    const open = await files.open(first, false, 0)
    expect(open.homes).toHaveLength(1)
    // It takes the last.
    const closed = files.openSync(second, false, 0)
    files.close(closed)
    await closed.deciding
    expect(closed.homes).toHaveLength(0)
    expect(homes.used).toBe(1)
    expect(files.openSync(second, false, 0)).toBe(closed)
    files.close(closed)
    files.close(open)
  })
})

test.each(['open', 'openSync'] as const)(
  'a file whose homes cannot be taken is read by itself after %s',
  async (how) => {
    await withKeeper(async ({ files }, homes) => {
      const content = noise(4 * PAGE, 1)
      const path = fileOf(content)
      await settle()
      homes.hold = () => {
        throw new RangeError('Array buffer allocation failed')
      }
      const inode = await files[how](path, false, 0)
      await inode.deciding
      expect({ homes: inode.homes, map: inode.map }).toEqual({ homes: [], map: undefined })
      await files.load(inode, 0, 4, 4, 0, true)
      files.close(inode)
    })
  },
)

test.each(['open', 'openSync'] as const)(
  'what is cached of a file that nobody has open counts where %s goes through the same mount, and no other',
  async (how) => {
    let mount = 7
    await withKeeper(
      async ({ files, pages }, homes) => {
        homes.serve = () => Promise.reject(new Error('nothing is shared'))
        const path = fileOf(noise(4 * PAGE, 1))
        await settle()
        const inode = await files.open(path, false, 0)
        await files.load(inode, 0, 4, 4, 0, true)
        mount = 8
        // As long as it is open its file system stays mounted, at how many places whatever.
        expect(await files[how](path, false, 0)).toBe(inode)
        expect(pages.isCached(inode.mapping, 0)).toBe(true)
        files.close(inode)
        files.close(inode)
        mount = 7
        await files[how](path, false, 0)
        expect(pages.isCached(inode.mapping, 0)).toBe(true)
        files.close(inode)
        mount = 8
        expect(await files[how](path, false, 0)).toBe(inode)
        expect(pages.isCached(inode.mapping, 0)).toBe(false)
        await files.load(inode, 0, 4, 4, 0, true)
        files.close(inode)
        await files[how](path, false, 0)
        expect(pages.isCached(inode.mapping, 0)).toBe(true)
        files.close(inode)
      },
      { uniqueMountId: () => mount },
    )
  },
)

test('a home that cannot be taken leaves no mapping behind', async () => {
  let homeFd = -1
  await withKeeper(
    async ({ files, pages }, homes) => {
      const serve = homes.serve.bind(homes)
      homes.serve = async (file) => {
        const serving = (await serve(file)) as { home: { file: { fd: number } } }
        homeFd = serving.home.file.fd
        return serving
      }
      const path = fileOf(noise(4 * PAGE, 1))
      await settle()
      const inode = await files.open(path, false, 0)
      expect(inode.homes).toEqual([])
      expect(pages.mappings.inUse.size).toBe(1)
      files.close(inode)
    },
    {
      isDax: (fd) => {
        if (fd === homeFd) throw new Error('EIO')
        return false
      },
    },
  )
})

test('of what comes in by a load, a write or a publish it is told, and whether memory can have grown by it', async () => {
  await withKeeper(async (keeping) => {
    const { files } = keeping
    const told = { grown: 0, replaced: 0 }
    const since = () => {
      const before = { ...told }
      Object.assign(told, { grown: 0, replaced: 0 })
      return before
    }
    files.loader.onCached = (bytes, hasGrown) => (told[hasGrown ? 'grown' : 'replaced'] += bytes)
    const inode = await files.open(fileOf(noise(5 * MEBIBYTE, 1)), true, 0)
    await files.load(inode, 0, 4, 4, 0, true)
    expect(since()).toEqual({ grown: 4 * PAGE, replaced: 0 })
    files.writer.writeSync(inode, noise(4 * PAGE, 2), 8 * PAGE, 0)
    expect(since()).toEqual({ grown: 4 * PAGE, replaced: 0 })
    const wish = { position: 16 * PAGE, length: 4 * PAGE, readers: 'wait', wait: true, timeoutMs: 1000 } as const
    const grant = await files.grants.grant(inode, 'holder', wish, { onRevoke() {}, onWaiting() {} })
    await grant.publish(noise(4 * PAGE, 3), false)
    // With its private copies.
    expect(since()).toEqual({ grown: 16 * PAGE, replaced: 0 })

    const loadAll = async () => {
      for (let page = 0; page < 1280; page += 64) await files.load(inode, page, 64, 64, 0, true)
    }
    await loadAll()
    expect(told.grown).toBeGreaterThan(3 * MEBIBYTE)
    since()
    await loadAll()
    expect(told.grown).toBe(0)
    keeping.resize(2 * MEBIBYTE)
    await loadAll()
    expect(told.grown).toBe(0)
    expect(told.replaced).toBeGreaterThan(MEBIBYTE)
    keeping.resize(4 * MEBIBYTE)
    await loadAll()
    expect(told.grown).toBeGreaterThan(MEBIBYTE)
    files.close(inode, true)
  })
})
