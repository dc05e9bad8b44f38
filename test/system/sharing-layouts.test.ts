/**
 * A thousand files of random extents, cut and cloned from one another: what is read through the mount, with passthrough and
 * through the daemon, is the source, byte by byte. A failure names the seed; SAMEPAGE_TEST_SEED repeats it.
 */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { cloneFile, cloneRange, dedupeRange } from '../../src/linux/clone.ts'
import { close, O_RDWR, open } from '../../src/linux/file.ts'
import { libc } from '../../src/linux/native.ts'
import { KIBIBYTE, MEBIBYTE, noise, PAGE, run } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { type LoopKind, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'

const fallocate = libc<[fd: number, mode: number, offset: number, length: number]>('fallocate', 'int', [
  'int',
  'int',
  'int64',
  'int64',
])
const FALLOC = { ALLOCATE: 0, ALLOCATE_BEHIND_THE_END: 1, PUNCH: 3, ZERO: 16, COLLAPSE: 8, INSERT: 32 }

const PAGES_MAX = 200
const BATCH = 50
/** Files that later ones are made of. */
const POOL = 24
const SETTLED_MS = 60

interface Variant {
  readonly name: string
  readonly kind: LoopKind
  readonly options: string[]
  readonly files: number
  /** Whether much or nothing is shared; undefined: that is left to chance. */
  readonly shares?: boolean
}

const VARIANTS: readonly Variant[] = [
  { name: 'XFS', kind: 'xfs', options: [], files: 450, shares: true },
  { name: 'btrfs', kind: 'btrfs', options: [], files: 350, shares: true },
  { name: 'btrfs with compression', kind: 'btrfs', options: ['compress=zstd'], files: 200 },
  // Clones and dedupe are refused there; holes, unwritten extents and all else are as elsewhere.
  { name: 'ext4', kind: 'ext4', options: [], files: 150, shares: false },
]

/** One random thing done to the file `fd` of `size` bytes; others may be cloned from. */
function change(random: Random, fd: number, others: readonly string[]): void {
  const size = fs.fstatSync(fd).size
  const page = () => random.below(PAGES_MAX) * PAGE
  const length = () => random.between(1, 40) * PAGE
  switch (random.below(11)) {
    case 0:
    case 1:
      fs.writeSync(fd, noise(length(), random.below(1000)), 0, undefined, page())
      break
    case 2:
      // Not at pages.
      fs.writeSync(fd, noise(random.between(1, 9000), random.below(1000)), 0, undefined, random.below(PAGES_MAX * PAGE))
      break
    case 3:
      // Compressible.
      fs.writeSync(fd, Buffer.alloc(length(), `${random.below(9)} and again `), 0, undefined, page())
      break
    case 4:
      fallocate(fd, random.pick([FALLOC.ALLOCATE, FALLOC.ALLOCATE_BEHIND_THE_END]), page(), length())
      break
    case 5:
      fallocate(fd, random.pick([FALLOC.PUNCH, FALLOC.ZERO]), page(), length())
      break
    case 6:
      // XFS only; elsewhere refused.
      fallocate(fd, random.pick([FALLOC.COLLAPSE, FALLOC.INSERT]), page(), length())
      break
    case 7:
      fs.ftruncateSync(fd, random.below(PAGES_MAX * PAGE))
      break
    case 8:
    case 9:
      if (others.length > 0)
        withOther(random.pick(others), (other, otherSize) => {
          const from = random.below(Math.ceil(otherSize / PAGE) + 1) * PAGE
          // Up to the end, or a number of blocks that may reach beyond it, which is refused.
          cloneRange(fd, page(), other, from, random.below(3) === 0 ? 0 : length())
        })
      break
    default:
      if (others.length > 0)
        withOther(random.pick(others), (other) => {
          // The same bytes first, then one copy of them.
          const [from, to, bytes] = [page(), page(), Buffer.alloc(length())]
          const read = fs.readSync(other, bytes, 0, bytes.length, from)
          const whole = Math.floor(read / PAGE) * PAGE
          if (whole === 0) return
          fs.writeSync(fd, bytes, 0, whole, to)
          fs.fsyncSync(fd)
          dedupeRange(fd, to, other, from, whole)
        })
  }
  // So that the next change meets extents that are on the device, or not.
  if (size > 0 && random.below(4) === 0) fs.fsyncSync(fd)
}

function withOther(file: string, use: (fd: number, size: number) => void): void {
  const fd = open(file, O_RDWR)
  try {
    use(fd, fs.fstatSync(fd).size)
  } finally {
    close(fd)
  }
}

function makeFile(random: Random, file: string, others: readonly string[]): void {
  const fd = open(file, O_RDWR | fs.constants.O_CREAT, 0o644)
  try {
    if (others.length > 0 && random.below(4) > 0) withOther(random.pick(others), (other) => cloneFile(fd, other))
    else fs.writeSync(fd, noise(random.between(1, PAGES_MAX * PAGE), random.below(1000)))
    for (let steps = random.below(8); steps > 0; steps--) change(random, fd, others)
  } finally {
    close(fd)
  }
}

/** Reads the file through the mount: in one go, and at random places. */
function expectSame(random: Random, mount: Mounted, name: string, content: Buffer, what: string): void {
  const fd = fs.openSync(`${mount.path}/${name}`, 'r')
  try {
    expect(fs.fstatSync(fd).size, what).toBe(content.length)
    const whole = fs.readFileSync(fd)
    if (!whole.equals(content)) throw new Error(`${what}: ${difference(whole, content)}`)
    for (let reads = 0; reads < 6; reads++) {
      const offset = random.below(content.length + 2 * PAGE)
      const buffer = Buffer.alloc(random.between(1, 300 * KIBIBYTE))
      const length = fs.readSync(fd, buffer, 0, buffer.length, offset)
      const expected = content.subarray(offset, offset + buffer.length)
      if (!buffer.subarray(0, length).equals(expected))
        throw new Error(
          `${what}, ${buffer.length} bytes at ${offset}: ${difference(buffer.subarray(0, length), expected)}`,
        )
    }
  } finally {
    fs.closeSync(fd)
  }
}

function difference(got: Buffer, wanted: Buffer): string {
  if (got.length !== wanted.length) return `${got.length} bytes instead of ${wanted.length}`
  const at = got.findIndex((byte, i) => byte !== wanted[i])
  return `byte ${at} is ${got[at]} instead of ${wanted[at]}`
}

for (const { name: variant, kind, options, files, shares } of VARIANTS) {
  const seed = testSeed()
  describeWith(['root', 'loop', 'fuse', kind], `random extents on ${variant}`, () => {
    test(`${files} files, seed ${seed}`, async () => {
      const random = new Random(seed)
      await using filesystem = await loopFilesystem(kind, { size: 2048 * MEBIBYTE, mount: options })
      const at = (name: string) => `${filesystem.path}/${name}`
      await using through = await mounted(filesystem.path, { flags: { minShare: '16K' } })
      await using daemon = await mounted(filesystem.path, { flags: { minShare: '16K', passthrough: false } })
      const names: string[] = []
      for (let made = 0; made < files; made += BATCH) {
        const pool = () => names.slice(-POOL).map(at)
        for (let i = made; i < Math.min(files, made + BATCH); i++) {
          makeFile(random, at(`file${i}`), pool())
          names.push(`file${i}`)
        }
        // Some that were read before are other files now.
        for (let i = 0; i < 8; i++) {
          const fd = open(at(random.pick(names)), O_RDWR)
          change(random, fd, pool())
          close(fd)
        }
        run('sync', '-f', filesystem.path)
        await sleep(SETTLED_MS)
        const batch = names.slice(-BATCH - POOL)
        for (let reads = 0; reads < batch.length; reads++) {
          const name = random.pick(batch)
          const content = fs.readFileSync(at(name))
          for (const mount of random.below(2) === 0 ? [through, daemon] : [daemon, through])
            expectSame(random, mount, name, content, `seed ${seed}, ${name}`)
        }
      }
      // All once more, as they are remembered.
      for (const name of names) {
        const content = fs.readFileSync(at(name))
        for (const mount of [through, daemon])
          expectSame(random, mount, name, content, `seed ${seed}, ${name} at the end`)
      }
      for (const mount of [through, daemon]) {
        const { homes, bytesRead, workers, files: counts } = await mount.status()
        expect(workers).toMatchObject({ restarts: 0, failures: 0 })
        expect(counts.open).toBe(0)
        if (shares === false) expect(homes.homesMade).toBe(0)
        // It was about sharing, where that is possible.
        if (shares === true) {
          expect(homes.homesMade, `seed ${seed}`).toBeGreaterThan(20)
          expect(homes.diverged).toBeGreaterThan(files / 10)
          if (mount === daemon) expect(bytesRead.fromHomes).toBeGreaterThan(MEBIBYTE)
          else expect(homes.pristine).toBeGreaterThan(0)
        }
      }
    })
  })
}
