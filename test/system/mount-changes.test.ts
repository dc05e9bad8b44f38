/**
 * What happens below while files are open through the mount: close-to-open. Who has a file open keeps what he opened, or sees the file as it
 * is, but never anything else; the next open sees what there is now, at once, also where the kernel still believes names and attributes.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, freeBytes, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SIZE = 2 * MEBIBYTE
/** For how long the kernel believes names and attributes. Enough for what is to happen at once to happen in. */
const TIMEOUT_MS = 400

/** Makes a file that will be served in this way. The mount is told to share from 64 KiB on. */
const MAKE = {
  private: (file: string) => writeSynced(file, noise(SIZE, 1)),
  pristine(file: string) {
    writeSynced(`${file}.original`, noise(SIZE, 2))
    clone(`${file}.original`, file)
  },
  mapped(file: string) {
    MAKE.pristine(file)
    overwrite(file, 7 * PAGE, noise(2 * PAGE, 3))
  },
}
type Served = keyof typeof MAKE

const CHANGE = {
  append: (file: string) => fs.appendFileSync(file, noise(100_000, 4)),
  truncate: (file: string) => fs.truncateSync(file, MEBIBYTE + 17),
  overwrite: (file: string) => overwrite(file, MEBIBYTE, noise(5000, 5)),
  'overwrite own pages': (file: string) => overwrite(file, 7 * PAGE, noise(PAGE, 6)),
  'write in place of it': (file: string) => fs.writeFileSync(file, noise(300_000, 7)),
  replace(file: string) {
    writeSynced(`${file}.new`, noise(MEBIBYTE, 8))
    fs.renameSync(`${file}.new`, file)
  },
  delete: (file: string) => fs.unlinkSync(file),
}
type Change = keyof typeof CHANGE

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', 'fuse', 'program:python3', kind], `changes below on ${kind}`, () => {
    let filesystem: LoopFilesystem
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
    })
    afterAll(() => filesystem?.[Symbol.asyncDispose]())

    for (const passthrough of kind === 'xfs' ? [true, false] : [true]) {
      describe(passthrough ? 'with passthrough' : 'through the daemon', () => {
        let mount: Mounted
        beforeAll(async () => {
          mount = await mounted(filesystem.path, {
            flags: { minShare: '64K', timeout: TIMEOUT_MS / 1000, ...(passthrough ? {} : { passthrough: false }) },
          })
        })
        afterAll(() => mount?.[Symbol.asyncDispose]())

        for (const served of Object.keys(MAKE) as Served[])
          test(`of files that are served as ${served}`, async () => {
            const files: WatchedFile[] = []
            try {
              for (const change of Object.keys(CHANGE) as Change[]) {
                const file = new WatchedFile(filesystem.path, mount.path, `${served} ${change} ${passthrough}`, change)
                files.push(file)
                MAKE[served](file.below)
              }
              await settle()
              for (const file of files) await file.open()
              const { files: counts, homes } = await mount.status()
              expect(counts.open).toBe(files.length)
              const expected = served === 'private' ? 0 : files.length
              expect(homes.inUse, `private: ${JSON.stringify(homes.private)}`).toBe(expected)
              if (passthrough) expect(counts[served]).toBeGreaterThanOrEqual(files.length)

              const isSnapshot = served === 'pristine' && passthrough
              for (const file of files) {
                CHANGE[file.change](file.below)
                await file.check('at once', served, isSnapshot)
              }
              await sleep(TIMEOUT_MS + 100)
              for (const file of files) await file.check('later', served, isSnapshot)
              for (const file of files) await file.close()
              await eventually(async () => expect((await mount.status()).files.open).toBe(0))
              for (const file of files) await file.checkNewOpen('after the last close')
            } finally {
              for (const { client } of files) await client[Symbol.asyncDispose]()
            }
          })

        test('what has no name, or none any more, is opened by way of the open file at once, whatever has just happened to it', async () => {
          await using client = startClient()
          const opened = (code: string) => client.outcome(code)
          const again = '[(g := os.open(f"/proc/self/fd/{f}", os.O_RDWR)), os.pread(g, 9, 0).decode(), os.close(g)][1]'
          await client.run('f = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)', { directory: mount.path })
          for (const text of ['one', 'two']) {
            await client.run('os.pwrite(f, text.encode(), 0)', { text })
            expect(await opened(again)).toBe(text)
            expect(await opened(again)).toBe(text)
          }
          await client.run('f = os.open(path, os.O_RDWR | os.O_CREAT)', { path: `${mount.path}/gone ${passthrough}` })
          await client.run('os.write(f, b"three"), os.unlink(path)')
          expect(await opened(again)).toBe('three')
          await client.run('os.fchmod(f, 0o640)')
          expect(await opened(again)).toBe('three')
          // Deleted below it has a name that the kernel believes, and by which it is not had.
          await client.run('f = os.open(path, os.O_RDWR | os.O_CREAT)')
          await client.run('os.write(f, b"four")')
          fs.unlinkSync(`${filesystem.path}/gone ${passthrough}`)
          expect(await opened('os.open(path, os.O_RDWR)')).toBe('ENOENT')
          expect(await opened(again)).toBe('four')
          expect(await opened('os.open(path, os.O_RDWR)')).toBe('ENOENT')
        })

        test('the space of a deleted file is free when nobody has it open any more, homes included', async () => {
          await using client = startClient()
          const names = ['one', 'two', 'three'].map((name) => `space ${name} ${passthrough}`)
          const before = freeBytes(filesystem.path)
          writeSynced(`${filesystem.path}/${names[0]}`, noise(32 * MEBIBYTE, 9))
          for (const name of names.slice(1)) clone(`${filesystem.path}/${names[0]}`, `${filesystem.path}/${name}`)
          await settle()
          for (const name of names) {
            await client.run('f = os.open(path, os.O_RDONLY); whole(f)', { path: `${mount.path}/${name}` })
            if (name !== names[0]) await client.run('os.close(f)')
            else await client.run('first = f')
          }
          expect((await mount.status()).homes.homes).toBeGreaterThan(0)
          for (const name of names) fs.unlinkSync(`${filesystem.path}/${name}`)
          // Natively, too, an open file keeps its blocks.
          expect(freeBytes(filesystem.path)).toBeLessThan(before - 31 * MEBIBYTE)
          expect(
            await client.value('digest(whole(first)) == expected', {
              expected: await client.value('digest(whole(first))'),
            }),
          ).toBe(true)
          await client.run('os.close(first)')
          await eventually(() => expect(freeBytes(filesystem.path)).toBeGreaterThan(before - 2 * MEBIBYTE), 30_000)
        })
      })
    }
  })
}

/** A file that is open and mapped while it changes below. */
class WatchedFile {
  readonly change: Change
  readonly below: string
  readonly client = startClient()
  readonly #path: string
  #before: Buffer = Buffer.alloc(0)

  constructor(source: string, mountpoint: string, name: string, change: Change) {
    this.change = change
    this.below = `${source}/${name}`
    this.#path = `${mountpoint}/${name}`
  }

  async open(): Promise<void> {
    const { client } = this
    // The home is made from the first that is opened, and equal to that.
    if (fs.existsSync(`${this.below}.original`))
      await client.run('open(path + ".original", "rb").read()', { path: this.#path })
    this.#before = fs.readFileSync(this.below)
    await client.run('old = os.open(path, os.O_RDONLY); content = whole(old); was = os.fstat(old)', {
      path: this.#path,
    })
    await client.run('memory = mmap.mmap(old, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ); pages = digest(memory)')
    expect(await client.value('digest(content) == pages and digest(content)')).toBe(digest(this.#before))
  }

  async check(moment: string, served: Served, isSnapshot: boolean): Promise<void> {
    const { client, change } = this
    const what = `${change}, ${moment}`
    const before = this.#before
    const now = await this.checkNewOpen(moment)
    const isGone = now === undefined || change === 'replace'
    if (!isGone) expect(await client.value('os.stat(path).st_ino == was.st_ino'), what).toBe(true)

    // Who had it open: every byte is one that the file held, then or now; a snapshot is as it was.
    const seen = Buffer.from(await client.value<string>('whole(old).hex()'), 'hex')
    expect(
      seen.every((byte, i) => byte === before[i] || byte === now?.[i]),
      what,
    ).toBe(true)
    if (isGone || isSnapshot) {
      expect(seen.equals(before), what).toBe(true)
      expect(await client.value('digest(memory) == pages'), what).toBe(true)
    } else if (served === 'private') expect(seen.equals(now), what).toBe(true)
    expect(await client.value('os.fstat(old).st_ino == was.st_ino'), what).toBe(true)
    if (moment === 'later') expect(await client.value('os.fstat(old).st_nlink'), what).toBe(isGone ? 0 : 1)
    // Nobody's name any more, but somebody's file: it can be opened again by way of the open one.
    if (isGone && moment === 'later')
      expect(await client.value('digest(open("/proc/self/fd/%d" % old, "rb").read()) == pages'), what).toBe(true)
  }

  /** Who opens it now sees what it is now, size and content; returns that. */
  async checkNewOpen(moment: string): Promise<Buffer | undefined> {
    const now = fs.existsSync(this.below) ? fs.readFileSync(this.below) : undefined
    const opened = await this.client.outcome(
      '[(f := os.open(path, os.O_RDONLY)), os.fstat(f).st_size, digest(whole(f)), os.close(f)][1:3]',
    )
    expect(opened, `${this.change}, opened ${moment}`).toEqual(now === undefined ? 'ENOENT' : [now.length, digest(now)])
    return now
  }

  close(): Promise<void> {
    return this.client.run('memory.close(); os.close(old)')
  }
}

function digest(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
