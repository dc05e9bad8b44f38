/**
 * `mount --watch` under load: random changes below while programs read through the mount, and more changes than the kernel's queue holds. However old a
 * file looks meanwhile, it never looks like another one, and in the end both sides are equal.
 */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type MountFlags, mounted } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { digest, seen } from '../support/seen.ts'
import { settle } from '../support/settled.ts'

const AN_HOUR = 3600
const PATIENCE_MS = 30_000
const FAMILIES = 3
const CHANGES = 1000

/** Pages that begin with their family's number, and differ from each other and from version to version. */
function pages(family: number, count: number, version: number): Buffer {
  const bytes = Buffer.alloc(count * PAGE)
  for (let page = 0; page < count; page++) {
    bytes.fill(`${family} `, page * PAGE, (page + 1) * PAGE)
    bytes.write(`${family} page ${page} version ${version} `, page * PAGE)
  }
  return bytes
}

/** Changes a tree at random. All files that are called f1-… are clones of the first of them, or of each other; sizes are whole pages. */
class Changer {
  readonly #directory: string
  readonly #random: Random
  #version = 0
  #count = 0

  constructor(directory: string, seed: number) {
    this.#directory = directory
    this.#random = new Random(seed)
    for (const name of ['', '/a', '/a/b']) fs.mkdirSync(directory + name, { recursive: true })
    for (let family = 0; family < FAMILIES; family++) writeSynced(`${directory}/f${family}-`, pages(family, 512, 0))
  }

  change(): void {
    const random = this.#random
    const file = this.#anyFile()
    const family = Number(file.slice(file.lastIndexOf('/') + 2)[0])
    const size = fs.statSync(file).size
    switch (random.below(12)) {
      case 0:
      case 1:
        if (this.#files().length < 40) clone(file, this.#newName(family))
        break
      case 2:
      case 3:
      case 4:
        overwrite(file, random.below(512) * PAGE, pages(family, random.between(1, 8), ++this.#version), false)
        break
      case 5:
        fs.appendFileSync(file, pages(family, 1, ++this.#version))
        break
      case 6:
        fs.truncateSync(file, random.below(size + 1) & -PAGE)
        break
      case 7:
        fs.renameSync(file, this.#newName(family))
        break
      case 8:
        fs.renameSync(file, random.pick(this.#files().filter((name) => name.includes(`/f${family}-`))))
        break
      case 9:
        if (this.#files().length > FAMILIES) fs.unlinkSync(file)
        break
      case 10:
        fs.chmodSync(random.pick([file, `${this.#directory}/a`, `${this.#directory}/a/b`]), random.pick([0o700, 0o755]))
        break
      case 11:
        fs.renameSync(`${this.#directory}/a/b`, `${this.#directory}/a/c`)
        if (random.below(2) === 0) fs.renameSync(`${this.#directory}/a/c`, `${this.#directory}/a/b`)
        else fs.mkdirSync(`${this.#directory}/a/b`)
        if (fs.existsSync(`${this.#directory}/a/c`)) {
          for (const name of fs.readdirSync(`${this.#directory}/a/c`))
            fs.renameSync(`${this.#directory}/a/c/${name}`, `${this.#directory}/${name}`)
          fs.rmdirSync(`${this.#directory}/a/c`)
        }
        break
    }
  }

  #files(): string[] {
    const names = fs.readdirSync(this.#directory, { recursive: true, encoding: 'utf8' })
    return names.filter((name) => /f\d-\d*$/.test(name)).map((name) => `${this.#directory}/${name}`)
  }

  #anyFile(): string {
    return this.#random.pick(this.#files())
  }

  #newName(family: number): string {
    return `${this.#directory}/${this.#random.pick(['', 'a/', 'a/b/'])}f${family}-${++this.#count}`
  }
}

/** Reads at random until `stop` exists; returns how many files it has read, or fails with the first that held pages of two families. */
const READER = `
import random
def read_on(root, stop, seed):
    chance, held, count = random.Random(seed), [], 0
    while not os.path.exists(stop):
        found = [os.path.join(d, name) for d, _, names in os.walk(root) for name in names if name.startswith("f")]
        for path in chance.sample(found, min(6, len(found))):
            try:
                os.stat(path)
                held.append(os.open(path, os.O_RDONLY))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE): raise
        for f in held:
            data = whole(f)
            families = {data[at:at + 1] for at in range(0, len(data), 4096)} - {b"\\0"}
            if len(families) > 1: raise Exception("pages of families %s in one file" % families)
            count += 1
        chance.shuffle(held)
        while len(held) > 8: os.close(held.pop())
    for f in held: os.close(f)
    return count`

const WAYS: Record<string, MountFlags> = { 'with passthrough': {}, 'through the daemon': { passthrough: false } }

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', 'fuse', 'program:python3', kind], `random changes below on ${kind}`, () => {
    for (const [way, flags] of Object.entries(WAYS))
      test(`${way}: in the end both sides are equal`, async () => {
        const seed = testSeed()
        await using filesystem = await loopFilesystem(kind)
        const source = `${filesystem.path}/source`
        const changer = new Changer(source, seed)
        await using mount = await mounted(source, {
          flags: { watch: true, timeout: AN_HOUR, minShare: '64K', ...flags },
        })
        const stop = `${filesystem.directory}/stop`
        const clients = [startClient(), startClient()]
        try {
          for (const client of clients) await client.run(READER)
          const readers = clients.map((client, i) =>
            client.value<number>('read_on(root, stop, seed)', { root: mount.path, stop, seed: seed + i }),
          )
          const changes = (async () => {
            for (let i = 0; i < CHANGES; i++) {
              changer.change()
              await sleep(i % 50 === 0 ? 50 : 0)
            }
            fs.writeFileSync(stop, '')
          })()
          const counts = await Promise.all([...readers, changes])
          expect(Math.min(...counts.slice(0, 2).map(Number)), `seed ${seed}`).toBeGreaterThan(0)
          await eventually(() => expect(seen(mount.path), `seed ${seed}`).toEqual(seen(source)), PATIENCE_MS)
          expect((await mount.status()).watch!.events).toBeGreaterThan(CHANGES / 2)
        } finally {
          fs.writeFileSync(stop, '')
          for (const client of clients) await client[Symbol.asyncDispose]()
        }
      })
  })
}

const QUEUE = '/proc/sys/fs/fanotify/max_queued_events'

/** The kernel gives a new queue the length that stands there when it is made. */
async function withShortQueues<T>(length: number, body: () => Promise<T>): Promise<T> {
  const usual = fs.readFileSync(QUEUE, 'utf8')
  fs.writeFileSync(QUEUE, String(length))
  try {
    return await body()
  } finally {
    fs.writeFileSync(QUEUE, usual)
  }
}

describeWith(['root', 'loop', 'fuse', 'program:python3', 'xfs'], 'a queue that runs over', () => {
  test('makes everything be looked at anew', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const source = `${filesystem.path}/source`
    const changer = new Changer(source, testSeed())
    const mapped = `${source}/mapped`
    writeSynced(`${mapped}.original`, noise(2 * MEBIBYTE, 2))
    clone(`${mapped}.original`, mapped)
    overwrite(mapped, 7 * PAGE, noise(PAGE, 3))
    for (let i = 0; i < 100; i++) fs.writeFileSync(`${source}/small${i}`, noise(100, i))
    await settle()

    await using mount = await withShortQueues(16, () => mounted(source, { flags: { watch: true, timeout: AN_HOUR } }))
    await using client = startClient()
    await client.run(
      'open(path + ".original", "rb").read(); f = os.open(path, os.O_RDONLY); before = digest(whole(f))',
      {
        path: `${mount.path}/mapped`,
      },
    )
    expect(seen(mount.path)).toEqual(seen(source))
    const { pid, files } = await mount.status()
    expect(files.mapped).toBeGreaterThan(0)

    process.kill(pid, 'SIGSTOP')
    try {
      for (let i = 0; i < 50; i++) changer.change()
      for (let i = 0; i < 100; i += 2) fs.renameSync(`${source}/small${i}`, `${source}/small${i + 1}`)
      for (let i = 1; i < 100; i += 4) fs.appendFileSync(`${source}/small${i}`, 'more')
      overwrite(mapped, MEBIBYTE, noise(5000, 4), false)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await eventually(() => expect(seen(mount.path)).toEqual(seen(source)), PATIENCE_MS)
    expect((await mount.status()).watch!.overflows).toBeGreaterThan(0)
    expect(await client.value('digest(whole(f))')).toBe(digest(fs.readFileSync(mapped)))

    // And from then on one by one again.
    fs.chmodSync(`${source}/mapped`, 0o600)
    await eventually(() => expect(seen(mount.path)).toEqual(seen(source)), PATIENCE_MS)
  })
})
