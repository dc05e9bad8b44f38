/**
 * The same work done twice: through a mount, and natively beside its source on the same file system.
 *
 *     await using twins = await startTwins('xfs')
 *     for (const place of twins.make('a build')) run('make', '-C', place)
 *     twins.expectSame('a build')
 */
import fs from 'node:fs'
import path from 'node:path'
import { expect } from 'vitest'
import { run } from './files.ts'
import { type LoopFilesystem, type LoopKind, type LoopOptions, loopFilesystem } from './loopfs.ts'
import { type Mounted, type MountFlags, mounted } from './mounted.ts'

export interface Places {
  /** Done natively here, … */
  readonly native: string
  /** … and here through the mount, … */
  readonly mounted: string
  /** … so that it lies here. */
  readonly source: string
}

export async function startTwins(
  kind: LoopKind,
  flags: MountFlags = {},
  options: LoopOptions = { size: 4 * 2 ** 30 },
): Promise<Twins> {
  const filesystem = await loopFilesystem(kind, options)
  try {
    for (const name of ['native', 'source']) fs.mkdirSync(path.join(filesystem.path, name))
    const mount = await mounted(path.join(filesystem.path, 'source'), { flags })
    return new Twins(filesystem, mount)
  } catch (error) {
    await filesystem[Symbol.asyncDispose]()
    throw error
  }
}

export class Twins implements AsyncDisposable {
  readonly filesystem: LoopFilesystem
  readonly mount: Mounted

  constructor(filesystem: LoopFilesystem, mount: Mounted) {
    this.filesystem = filesystem
    this.mount = mount
  }

  places(name: string): Places {
    return {
      native: path.join(this.filesystem.path, 'native', name),
      mounted: path.join(this.mount.path, name),
      source: path.join(this.filesystem.path, 'source', name),
    }
  }

  /** A new directory on either side, the one of the mount made through it. */
  make(name: string): Places {
    const places = this.places(name)
    fs.mkdirSync(places.native)
    fs.mkdirSync(places.mounted)
    return places
  }

  /** The mount shows what lies in its source. */
  expectShown(name: string): void {
    const { mounted, source } = this.places(name)
    expect(treeDifferences(source, mounted), 'the source, and the mount').toEqual([])
  }

  /** The same; and that, but for its times, is what came of it natively. `except` as rsync(1) has it. */
  expectSame(name: string, ...except: string[]): void {
    this.expectShown(name)
    const { native, source } = this.places(name)
    const timeless = ['--no-times', ...except.map((pattern) => `--exclude=${pattern}`)]
    expect(treeDifferences(native, source, ...timeless), 'natively, and through the mount').toEqual([])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.mount[Symbol.asyncDispose]()
    } finally {
      await this.filesystem[Symbol.asyncDispose]()
    }
  }
}

/** What rsync would do to make a tree like another: names, types, content, owners, modes, times, links, extended attributes and ACLs. */
export function treeDifferences(one: string, other: string, ...options: string[]): string[] {
  const always = ['-aHAX', '--checksum', '--delete', '--dry-run', '--itemize-changes']
  const output = run('rsync', ...always, ...options, `${one}/`, `${other}/`)
  return output.split('\n').filter((line) => line !== '')
}
