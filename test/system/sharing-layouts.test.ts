/**
 * A thousand files of random extents, cut and cloned from one another: what is read through the mount, with passthrough and
 * through the daemon, is the source, byte by byte. A failure names the seed; SAMEPAGE_SEED repeats it.
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { difference } from '../support/bytes.ts'
import { KIBIBYTE, MEBIBYTE, PAGE } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { makeBatch } from '../support/layouts.ts'
import { type LoopKind, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const BATCH = 50
/** Files that later ones are made of. */
const POOL = 24

interface Variant {
  readonly name: string
  readonly kind: LoopKind
  readonly options: string[]
  readonly mkfs?: string[]
  readonly files: number
  /** Whether much or nothing is shared; undefined: that is left to chance. */
  readonly shares?: boolean
}

const VARIANTS: readonly Variant[] = [
  { name: 'XFS', kind: 'xfs', options: [], files: 450, shares: true },
  // A page may be shared in part.
  { name: 'XFS with blocks of 1 KiB', kind: 'xfs', options: [], mkfs: ['-b', 'size=1024'], files: 150, shares: true },
  { name: 'btrfs', kind: 'btrfs', options: [], files: 350, shares: true },
  { name: 'btrfs with compression', kind: 'btrfs', options: ['compress=zstd'], files: 200 },
  // Clones and dedupe are refused there; holes, unwritten extents and all else are as elsewhere.
  { name: 'ext4', kind: 'ext4', options: [], files: 150, shares: false },
]

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

for (const { name: variant, kind, options, mkfs = [], files, shares } of VARIANTS) {
  const seed = testSeed()
  describeWith(['root', 'loop', 'fuse', kind], `random extents on ${variant}`, () => {
    test(`${files} files, seed ${seed}`, async () => {
      const random = new Random(seed)
      await using filesystem = await loopFilesystem(kind, { size: 2048 * MEBIBYTE, mkfs, mount: options })
      const at = (name: string) => `${filesystem.path}/${name}`
      await using through = await mounted(filesystem.path, { flags: { minShare: '16K' } })
      await using daemon = await mounted(filesystem.path, { flags: { minShare: '16K', passthrough: false } })
      const names: string[] = []
      for (let made = 0; made < files; made += BATCH) {
        // Some that were read before are other files now.
        makeBatch(random, filesystem.path, names, Math.min(BATCH, files - made), POOL)
        await settle()
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
